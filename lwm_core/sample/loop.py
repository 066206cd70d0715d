"""The compiled parts of decoding: reading prompts into a cache, and turns of draw, check and append.

Owns what one turn does to the model's cache, the grammars and the rows. Who calls it, and how often, is `generate`'s
(prompts at once) and `session`'s (one conversation).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, PRNGKeyArray

from lwm_core.attention import TokenCoords, Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.model.cache import CacheDtype, KVCache
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.grammar import AbstractGrammar
from lwm_core.sample.guidance import guide


class Loop(NamedTuple):
    """What one turn hands to the next; R rows of the model, B of them drawn (R = 2B with guidance)."""

    step: Int32[Array, ""]
    states: Float[Array, "R E"]
    position: Int32[Array, " R"]
    cache: KVCache
    drawn: Int32[Array, "B room"]
    counts: Int32[Array, " B"]
    open: Bool[Array, " B"]
    grammar: Int32[Array, "B K"] | None

    @staticmethod
    def begun(states, position, cache, grammar: AbstractGrammar | None, batch: int, room: int) -> "Loop":
        """Before the first turn: nothing drawn, `room` ids to come at most."""
        return Loop(
            jnp.int32(0),
            states,
            position,
            cache,
            jnp.zeros((batch, room), jnp.int32),
            jnp.zeros(batch, jnp.int32),
            jnp.ones(batch, bool),
            None if grammar is None else jnp.broadcast_to(grammar.init(), (batch, *grammar.init().shape)),
        )

    def rows(self) -> list[np.ndarray]:
        """The ids drawn so far, on the host."""
        drawn, counts = np.asarray(self.drawn), np.asarray(self.counts)
        return [row[:count] for row, count in zip(drawn, counts, strict=True)]


class Rules(NamedTuple):
    """What stays the same through all turns."""

    model: AbstractSequenceModel
    sampler: AbstractSampler
    grammar: AbstractGrammar | None
    stop: Int32[Array, " S"]
    scale: Float32[Array, ""] | None
    key: PRNGKeyArray


@eqx.filter_jit
def begin(model, tokens, at, grammar, *, rule, room, chunk, cache_dtype, batch) -> Loop:
    """The prompts read into a new cache that has room for `room` more ids."""
    rows, width = tokens.shape
    cache = new_cache(model, rows, width + room, cache_dtype)
    states, cache = prefill(model, tokens, at, rule, cache, chunk)
    return Loop.begun(states, at.position[:, -1] + 1, cache, grammar, batch, room)


@eqx.filter_jit(donate="all-except-first")
def turns(fixed: Rules, now: Loop, until: Int32[Array, ""], *, rule: Visibility) -> Loop:
    """Turns up to step `until`, or until every row has ended. What `now` holds is used up."""

    def turn(now: Loop) -> Loop:
        token = _draw(fixed, now, jax.random.fold_in(fixed.key, now.step))
        drawn = now.drawn.at[:, now.step].set(jnp.where(now.open, token, 0))
        state, still = _advance(fixed, now, token)
        states, cache = _append(fixed.model, token, now, rule)
        return Loop(
            now.step + 1, states, now.position + 1, cache, drawn, now.counts + now.open, still, state
        )  # fmt: skip

    return jax.lax.while_loop(lambda now: (now.step < until) & now.open.any(), turn, now)


def new_cache(model: AbstractSequenceModel, rows: int, length: int, dtype: CacheDtype | None) -> KVCache:
    """An empty cache; bits are asked for by name alone where they are chosen, for a model may offer no choice."""
    return model.empty_cache(rows, length) if dtype is None else model.empty_cache(rows, length, dtype=dtype)


def prefill(model, tokens, at, rule, cache, chunk) -> tuple[Float[Array, "R E"], KVCache]:
    """The state of each row's last token, and the cache with the prompts in it; `chunk` divides their length, None
    reads them in one call."""
    rows, width = tokens.shape
    if chunk is None:
        hidden = model.hidden(tokens, at, rule, cache=cache)
        return hidden.states[:, -1], hidden.cache

    def read(cache, now):
        part, position, segment = now
        hidden = model.hidden(part, TokenCoords(position, segment), rule, cache=cache)
        return hidden.cache, hidden.states[:, -1]

    parts = [x.reshape(rows, width // chunk, chunk).swapaxes(0, 1) for x in (tokens, at.position, at.segment)]
    cache, last = jax.lax.scan(read, cache, tuple(parts))
    return last[-1], cache


def _draw(fixed: Rules, now: Loop, key) -> Int32[Array, " B"]:
    logits: Float32[Array, "R V"] = fixed.model.logits(now.states)
    if fixed.scale is not None:
        conditional, unconditional = jnp.split(logits, 2)
        logits = guide(conditional, unconditional, fixed.scale)
    if fixed.grammar is not None and now.grammar is not None:
        logits = jnp.where(jax.vmap(fixed.grammar.mask)(now.grammar), logits, -jnp.inf)
    return fixed.sampler(logits, key=key)


def _advance(fixed: Rules, now: Loop, token):
    """The grammars' states after `token`, and which rows go on."""
    still = now.open & ~(token[:, None] == fixed.stop).any(axis=-1)
    if fixed.grammar is None or now.grammar is None:
        return None, still
    state = jax.vmap(fixed.grammar.advance)(now.grammar, token)
    return state, still & jax.vmap(fixed.grammar.mask)(state).any(axis=-1)


def _append(model, token, now: Loop, rule) -> tuple[Float[Array, "R E"], KVCache]:
    """Feeds the drawn ids to every row; an ended row gets segment 0 and leaves no trace."""
    copies = now.position.shape[0] // token.shape[0]
    fed, live = jnp.tile(jnp.where(now.open, token, 0), copies), jnp.tile(now.open, copies)
    at = TokenCoords(now.position[:, None], live[:, None].astype(jnp.int32))
    states, cache = model.hidden(fed[:, None], at, rule, cache=now.cache)
    return states[:, 0], cache
