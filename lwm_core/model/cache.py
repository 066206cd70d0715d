"""The key/value cache: what attention keeps of tokens already seen.

Owns the cache and how it grows. An empty slot has segment 0, so no mask of its own is needed.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int32

from lwm_core.attention.coords import TokenCoords


class LayerCache(NamedTuple):
    """Keys and values of one layer; G key heads."""

    k: Float[Array, "B S G D"]
    v: Float[Array, "B S G D"]


class KVCache(eqx.Module):
    """Keys and values of all N layers, their coordinates, and how many slots are used.

    Every row of the batch appends at the same slot; rows that are shorter carry segment 0 there.
    """

    k: Float[Array, "N B S G D"]
    v: Float[Array, "N B S G D"]
    at: TokenCoords
    used: Int32[Array, ""]

    @staticmethod
    def empty(layers: int, batch: int, length: int, heads: int, dim: int, dtype) -> "KVCache":
        room = jnp.zeros((layers, batch, length, heads, dim), dtype)
        nowhere = jnp.zeros((batch, length), jnp.int32)
        return KVCache(room, room, TokenCoords(nowhere, nowhere), jnp.zeros((), jnp.int32))

    @property
    def length(self) -> int:
        """How many tokens there is room for."""
        return self.k.shape[2]

    def placed(self, at: TokenCoords) -> "KVCache":
        """The cache with the coordinates of new tokens written; keys and values follow layer by layer.

        Raises `ValueError` when they do not fit. Inside `jit`, where `used` has no value yet, room is the caller's
        to keep: tokens past the end would overwrite the last ones.
        """
        used = 0 if isinstance(self.used, Tracer) else int(self.used)
        if used + at.position.shape[1] > self.length:
            raise ValueError(
                f"{at.position.shape[1]} tokens do not fit a cache of {self.length} that holds {used}: make it longer, "
                "as model.empty_cache(batch, length)."
            )
        start = (0, self.used)
        merged = TokenCoords(
            jax.lax.dynamic_update_slice(self.at.position, at.position, start),
            jax.lax.dynamic_update_slice(self.at.segment, at.segment, start),
        )
        return KVCache(self.k, self.v, merged, self.used)


def append(layer: LayerCache, k: Array, v: Array, used: Int32[Array, ""]) -> LayerCache:
    """One layer's cache with new keys and values at slot `used`."""
    start = (0, used, 0, 0)
    return LayerCache(
        jax.lax.dynamic_update_slice(layer.k, k.astype(layer.k.dtype), start),
        jax.lax.dynamic_update_slice(layer.v, v.astype(layer.v.dtype), start),
    )
