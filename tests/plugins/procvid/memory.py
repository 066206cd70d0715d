"""A hand-made model that knows documents by heart: it says what follows in the first one that begins as it has read."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from lwm_core.attention import AbstractAttention, DenseAttention
from lwm_core.model import AbstractRope, AbstractSequenceModel, Hidden, KVCache, Rotary


class Memory(AbstractSequenceModel):
    """Keeps the ids that it reads in its cache, at their positions."""

    known: Int32[Array, "M L"]
    attention: AbstractAttention
    rope: AbstractRope
    size: int = eqx.field(static=True)

    def __init__(self, documents, size):
        length = 1 + max(map(len, documents))
        padded = [np.pad(ids, (0, length - len(ids)), constant_values=-1) for ids in documents]
        self.known = jnp.asarray(np.stack(padded))
        self.attention, self.rope, self.size = DenseAttention(), Rotary(), size

    @property
    def vocab_size(self):
        return self.size

    def hidden(self, tokens, at, rule=None, *, cache=None, key=None):
        if cache is None:
            return Hidden(jax.vmap(self._states)(tokens, at.position, at.segment, at.position), None)
        used = cache.used
        cache = cache.placed(at)
        ids = tokens.astype(jnp.float32)[None, :, :, None, None]
        held = jax.lax.dynamic_update_slice(cache.k, ids, (0, 0, used, 0, 0))
        read = held[0, :, :, 0, 0].astype(jnp.int32)
        states = jax.vmap(self._states)(read, cache.at.position, cache.at.segment, at.position)
        return Hidden(states, KVCache(held, cache.v, cache.at, used + tokens.shape[1]))

    def _states(self, ids, position, segment, asked):
        """What follows at each of the asked positions of one row."""
        length = self.known.shape[1]
        placed = jnp.where(segment > 0, jnp.clip(position, 0, length - 1), length)
        row = jnp.full(length + 1, -2).at[placed].set(ids)[:length]
        begins = jnp.cumprod(row == self.known, axis=1)
        asked = jnp.clip(asked, 0, length - 2)
        document = jnp.argmax(begins[:, asked], axis=0)
        return jax.nn.one_hot(self.known[document, asked + 1], self.vocab_size)

    def logits(self, states):
        return states.astype(jnp.float32)

    def empty_cache(self, batch, length):
        return KVCache.empty(1, batch, length, 1, 1, jnp.float32)

    def resized(self, vocab_size, *, key):
        return eqx.tree_at(lambda model: model.size, self, vocab_size)
