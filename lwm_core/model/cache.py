"""The key/value cache: what attention keeps of tokens already seen.

Owns the cache, how it grows, in which bits it is stored, and what happens when it is full. An empty slot has
segment 0, so no mask of its own is needed. Attention over a stored cache is `lwm_core.attention.read_stored`.
"""

from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int32, Shaped

from lwm_core.attention.base import AbstractAttention
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.attention.stored import AbstractKernelAttention, Quantised, Stored, read_stored
from lwm_core.mesh import SEQUENCE, constrain, logical


CacheDtype = Literal["float32", "bfloat16", "int8"]

_AXES = (None, "batch", "sequence", "kv_heads", None)


class LayerCache(NamedTuple):
    """Keys and values of all N layers, and which layer is computed now.

    The whole travels through the stack and each layer writes its new tokens into it, so that there is one copy: a
    layer's own piece, handed in and handed out, would be copied to where the next step reads it.
    """

    k: Float[Array, "N B S G D"] | Quantised
    v: Float[Array, "N B S G D"] | Quantised
    layer: Int32[Array, ""]

    def of_layer(self) -> tuple[Stored, Stored]:
        """Keys and values of the layer."""
        one = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, self.layer, keepdims=False), (self.k, self.v))
        return one


class KVCache(eqx.Module):
    """Keys and values of all N layers, their coordinates, and how many slots are used.

    Every row of the batch appends at the same slot; rows that are shorter carry segment 0 there. A cache that was
    given more tokens than it has room for is *overrun* for good: every state read with it is NaN.
    """

    k: Float[Array, "N B S G D"] | Quantised = eqx.field(metadata=logical(*_AXES))
    v: Float[Array, "N B S G D"] | Quantised = eqx.field(metadata=logical(*_AXES))
    at: TokenCoords
    used: Int32[Array, ""]

    @staticmethod
    def empty(layers: int, batch: int, length: int, heads: int, dim: int, dtype) -> "KVCache":
        """Room for `length` tokens in `batch` rows, spread over the ambient mesh; `dtype` is a `CacheDtype`."""
        name = dtype if isinstance(dtype, str) else str(jnp.dtype(dtype))
        if name not in get_args(CacheDtype):
            raise ValueError(f"A cache of {dtype} is not offered: use one of {', '.join(get_args(CacheDtype))}.")
        shape = layers, batch, length, heads, dim
        if name == "int8":
            scale = constrain(jnp.zeros((layers, batch, heads, length)), None, "batch", "kv_heads", "sequence")
            room = Quantised(constrain(jnp.zeros(shape, jnp.int8), *_AXES), scale)
        else:
            room = constrain(jnp.zeros(shape, name), *_AXES)
        nowhere = jnp.zeros((batch, length), jnp.int32)
        return KVCache(room, room, TokenCoords(nowhere, nowhere), jnp.zeros((), jnp.int32))

    @property
    def length(self) -> int:
        """How many tokens there is room for."""
        return self.k.shape[2]

    @property
    def overrun(self) -> Bool[Array, ""]:
        """Whether it was ever given more tokens than it has room for."""
        return self.used > self.length

    def placed(self, at: TokenCoords) -> "KVCache":
        """The cache with the coordinates of new tokens written; keys and values follow layer by layer.

        Raises `ValueError` when they do not fit. Inside `jit`, where `used` has no value yet, `grown` marks the
        cache as overrun instead.
        """
        used = 0 if isinstance(self.used, Tracer) else int(self.used)
        if used + at.position.shape[1] > self.length:
            raise ValueError(
                f"{at.position.shape[1]} tokens do not fit a cache of {self.length} that holds {used}: make it longer, "
                "as model.empty_cache(batch, length)."
            )
        merged = TokenCoords(
            _put(self.at.position, at.position, self.used, axis=1), _put(self.at.segment, at.segment, self.used, axis=1)
        )
        return KVCache(self.k, self.v, merged, self.used)

    def grown(self, k: Array | Quantised, v: Array | Quantised, tokens: int) -> "KVCache":
        """The cache after so many tokens, with what its layers now hold."""
        return KVCache(k, v, self.at, self.used + tokens)

    def trusted(self, states: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
        """States read with this cache; NaN if it is overrun, because then they were read from overwritten slots.

        A compiled program cannot raise without a call back to the host, which stops the device at every token and
        keeps the program out of the compilation cache; NaN costs nothing, and nothing after it looks right.
        """
        return jnp.where(self.overrun, jnp.nan, states)


def append(cache: LayerCache, k: Array, v: Array, used: Int32[Array, ""]) -> LayerCache:
    """The cache with new keys and values of its layer at slot `used`, in the bits that it is stored in."""
    layer = cache.layer
    return LayerCache(_write(cache.k, layer, k, used), _write(cache.v, layer, v, used), layer)


def attend_cache(
    attention: AbstractAttention,
    q: Float[Array, "B T H D"],
    cache: LayerCache,
    *,
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
) -> Float[Array, "B T H D"]:
    """Attention of new tokens over their layer's cache, whatever it is stored in."""
    k, v = cache.of_layer()
    if not isinstance(k, Quantised) and not isinstance(v, Quantised) and k.dtype == q.dtype:
        return attention(q, k, v, q_at=q_at, kv_at=kv_at, rule=rule)
    if not isinstance(attention, AbstractKernelAttention):
        raise ValueError(
            f"{type(attention).__name__} reads caches in the dtype of its queries alone: give it {q.dtype} (lwm plan: "
            f"--cache {q.dtype}), or use an attention over a block kernel, such as 'local' or 'ring'."
        )
    return read_stored(attention, q, k, v, q_at, kv_at, rule)


def _write(room: Array | Quantised, layer, new: Float[Array, "B T G D"], used: Int32[Array, ""]):
    if not isinstance(room, Quantised):
        return _put_layer(room, layer, new.astype(room.dtype), used, axis=1)
    fresh = Quantised.of(new)
    steps = _put_layer(room.steps, layer, fresh.steps, used, axis=1)
    return Quantised(steps, _put_layer(room.scale, layer, fresh.scale, used, axis=2))


def _put_layer(room: Shaped[Array, "N ..."], layer, new: Shaped[Array, "..."], used, axis: int) -> Array:
    """`room` with `new` at slot `used` of `axis` of a layer."""
    if _in_place(new, axis):
        start = [used if n == axis else 0 for n in range(new.ndim)]
        return jax.lax.dynamic_update_slice(room, new[None], (layer, *start))
    own = jax.lax.dynamic_index_in_dim(room, layer, keepdims=False)
    return jax.lax.dynamic_update_index_in_dim(room, _put(own, new, used, axis), layer, 0)


def _in_place(new: Array, axis: int) -> bool:
    return new.shape[axis] == 1 or jax.sharding.get_abstract_mesh().shape.get(SEQUENCE, 1) == 1


def _put(room: Shaped[Array, "..."], new: Shaped[Array, "..."], used: Int32[Array, ""], axis: int) -> Array:
    """`room` with `new` at slot `used` of `axis`.

    Where slots lie on several devices, every slot looks up what it gets: the partitioner would collect the whole
    cache on each device to write a slice of unknown place into it, unless the slice is one slot wide.
    """
    width, slots = new.shape[axis], room.shape[axis]
    if _in_place(new, axis):
        return jax.lax.dynamic_update_slice_in_dim(room, new, used, axis)
    source = jnp.arange(slots, dtype=jnp.int32) - used
    found = jnp.take(new, jnp.clip(source, 0, width - 1), axis=axis)
    fresh = ((source >= 0) & (source < width)).reshape([-1 if n == axis else 1 for n in range(room.ndim)])
    return jnp.where(fresh, found, room)
