"""A hand-made model that looks up: it says what followed the longest earlier match of what it just read."""

import equinox as eqx
import jax
import jax.numpy as jnp

from lwm_core.attention import AbstractAttention, DenseAttention
from lwm_core.model import AbstractRope, AbstractSequenceModel, Hidden, KVCache, Rotary


class Oracle(AbstractSequenceModel):
    """Finds whatever stands at most `reach` tokens back; keeps the ids themselves in its cache."""

    attention: AbstractAttention = eqx.field(default_factory=DenseAttention)
    rope: AbstractRope = eqx.field(default_factory=Rotary)
    vocab_size: int = eqx.field(static=True, default=258)
    reach: int = eqx.field(static=True, default=1 << 20)

    def hidden(self, tokens, at, rule=None, *, cache=None, key=None):
        if cache is None:
            return Hidden(jax.vmap(self._states)(tokens, at.segment), None)
        used, length = cache.used, tokens.shape[1]
        cache = cache.placed(at)
        ids = tokens.astype(jnp.float32)[None, :, :, None, None]
        held = jax.lax.dynamic_update_slice(cache.k, ids, (0, 0, used, 0, 0))
        states = jax.vmap(self._states)(held[0, :, :, 0, 0].astype(jnp.int32), cache.at.segment)
        states = jax.lax.dynamic_slice_in_dim(states, used, length, axis=1)
        return Hidden(states, KVCache(held, cache.v, cache.at, used + length))

    def _states(self, ids, segment):
        slots = jnp.arange(len(ids))

        def step(matched, t):
            earlier = (ids == ids[t]) & (slots < t) & (slots >= t - self.reach) & (segment > 0)
            matched = jnp.where(earlier, 1 + jnp.roll(matched, 1).at[0].set(0), 0)
            return matched, ids[jnp.argmax(matched) + 1]

        _, said = jax.lax.scan(step, jnp.zeros_like(ids), slots)
        return jax.nn.one_hot(said, self.vocab_size)

    def logits(self, states):
        return states.astype(jnp.float32)

    def empty_cache(self, batch, length):
        return KVCache.empty(1, batch, length, 1, 1, jnp.float32)

    def resized(self, vocab_size, *, key):
        return Oracle(self.attention, self.rope, vocab_size, self.reach)
