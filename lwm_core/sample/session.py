"""One conversation with a model: ids read and written in turn over one cache that is kept between turns.

Owns the cache's room, and taking back what was written last. It knows no tokenizer and no wording: ids in, ids out.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from lwm_core.attention import TokenCoords, Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.model.cache import CacheDtype, KVCache
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.generate import Watch, check_ids, run
from lwm_core.sample.grammar import AbstractGrammar
from lwm_core.sample.guidance import Ids
from lwm_core.sample.loop import Loop, Rules, new_cache


STEPS = (256, 32)  # ids read in one call: two sizes, so that two programs serve every length


class Session:
    """A host-side holder of one row's cache; what it was told is not read again.

    - `length`: how many ids there is room for, read and written together;
    - `cache_dtype`: as in `generate`.
    """

    def __init__(
        self,
        model: AbstractSequenceModel,
        length: int,
        *,
        rule: Visibility = Visibility(),
        cache_dtype: CacheDtype | None = None,
    ):
        if length < 1:
            raise ValueError(f"A session of {length} ids: give it room for at least 1.")
        self.model, self.rule, self.length = model, rule, length
        self.ids: list[int] = []
        # A read may fill its last call up with empty slots, which what comes next overwrites.
        self._cache = _fresh(model, length + STEPS[-1], cache_dtype)
        self._states: Float[Array, "1 E"] | None = None
        self._used = self._written = 0

    @property
    def room(self) -> int:
        """How many more ids fit."""
        return self.length - len(self.ids)

    def read(self, ids: Ids) -> None:
        """Takes in ids; raises `ValueError` when they do not fit or are not the model's."""
        given = np.asarray(ids, np.int32)
        if not len(given):
            return
        check_ids(given, self.model.vocab_size)
        if len(given) > self.room:
            raise ValueError(f"{len(given)} ids do not fit: {self.room} of {self.length} are left.")
        at = 0
        while at < len(given):
            step = next((step for step in STEPS if len(given) - at >= step), STEPS[-1])
            part = given[at : at + step]
            self._take(part, step)
            at += len(part)
        self._written = 0

    def write(
        self,
        *,
        sampler: AbstractSampler,
        key: PRNGKeyArray,
        most: int,
        stop: Sequence[int] = (),
        grammar: AbstractGrammar | None = None,
        watch: Watch | None = None,
        every: int = 16,
    ) -> np.ndarray:
        """The ids that the model goes on with, at most `most` and what fits, a stop id included; they are kept."""
        if self._states is None:
            raise ValueError("Nothing was read yet: read at least one id, such as the tokenizer's bos marker.")
        most = min(most, self.room)
        if most < 1:
            raise ValueError(f"No room to write: all {self.length} ids are used. Make the session longer.")
        fixed = Rules(self.model, sampler, grammar, jnp.asarray(stop, jnp.int32), None, key)
        at = jnp.full((1,), len(self.ids), jnp.int32)
        room = -(-most // 64) * 64
        now = run(fixed, Loop.begun(self._states, at, self._cache, grammar, 1, room), most, self.rule, watch, every)
        (drawn,) = now.rows()
        self._cache, self._states, self._used = now.cache, now.states, self._used + len(drawn)
        self.ids += drawn.tolist()
        self._written = len(drawn)
        return drawn

    def forget(self, count: int) -> None:
        """Takes back the last `count` ids of what was just written, such as a stop id; read on before writing."""
        if not 0 <= count <= self._written:
            raise ValueError(f"{count} ids cannot be taken back: {self._written} were written last.")
        if count:
            del self.ids[-count:]
            self._used -= count
            self._written -= count
            self._cache, self._states = _cut(self._cache, jnp.int32(self._used)), None

    def _take(self, part: np.ndarray, step: int) -> None:
        """One call of `step` ids, the last of them empty where there are fewer."""
        count = len(part)
        row = (part, len(self.ids) + np.arange(count), np.ones(count))
        tokens, position, segment = (jnp.asarray(np.pad(x, (0, step - count))[None], jnp.int32) for x in row)
        at = TokenCoords(position, segment)
        self._states, self._cache = _read(self.model, self._cache, tokens, at, jnp.int32(count), rule=self.rule)
        self._used += count
        self.ids += part.tolist()


@eqx.filter_jit
def _fresh(model, length: int, dtype: CacheDtype | None) -> KVCache:
    """An empty cache each of whose arrays is a buffer of its own, as what is donated must be."""
    return new_cache(model, 1, length, dtype)


@eqx.filter_jit(donate="all-except-first")
def _read(model, cache: KVCache, tokens, at, count, *, rule):
    """The state of the last of `count` ids, and the cache with them in it."""
    hidden = model.hidden(tokens, at, rule, cache=cache)
    full = hidden.cache
    return hidden.states[:, count - 1], KVCache(full.k, full.v, full.at, cache.used + count)


@eqx.filter_jit
def _cut(cache: KVCache, used) -> KVCache:
    """The cache without what stands at slot `used` and after it."""
    kept = jnp.arange(cache.length) < used
    at = TokenCoords(cache.at.position, jnp.where(kept, cache.at.segment, 0))
    return KVCache(cache.k, cache.v, at, used)
