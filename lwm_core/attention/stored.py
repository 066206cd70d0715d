"""Keys and values stored in fewer bits than they are computed in, and attention that reads them so.

Owns `Quantised` (eight bits and a scale per token and head), and `read_stored`: attention over a stored cache,
widened a chunk of keys at a time before a kernel sees them, so that no cache is ever whole in the dtype of the
queries. It owns no cache and has no gradient: a cache is read when decoding.
"""

from dataclasses import dataclass
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import AbstractVar
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Float32, Int8

from lwm_core.attention.base import AbstractAttention, AbstractBlockKernel, AttentionSite, BlockOut, require
from lwm_core.attention.coords import Extent, TokenCoords, Visibility
from lwm_core.attention.extent import visible_blocks
from lwm_core.attention.few import regrouped, ungrouped
from lwm_core.attention.merge import accumulator, merge_over
from lwm_core.attention.placement import Placement
from lwm_core.mesh.declared import logical


# Keys widened at once; long enough that a kernel's own blocks are whole.
_CHUNK = 2048


class Quantised(eqx.Module):
    """Numbers as int8 steps of a scale: one scale per token and head, its largest magnitude over 127."""

    steps: Int8[Array, "*n S G D"] = eqx.field(metadata=logical("batch", "sequence", "kv_heads", None))
    scale: Float32[Array, "*n G S"] = eqx.field(metadata=logical("batch", "kv_heads", "sequence"))

    @staticmethod
    def of(x: Float[Array, "*n S G D"]) -> "Quantised":
        """Off by at most half a step: 1/254 of the largest number of the same token and head."""
        x = x.astype(jnp.float32)
        scale = jnp.abs(x).max(axis=-1) / 127
        steps = jnp.round(x / jnp.where(scale == 0, 1, scale)[..., None])
        return Quantised(steps.astype(jnp.int8), scale.swapaxes(-1, -2))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.steps.shape

    def astype(self, dtype) -> Float[Array, "*n S G D"]:
        return (self.steps.astype(jnp.float32) * self.scale.swapaxes(-1, -2)[..., None]).astype(dtype)


Stored = Float[Array, "B S G D"] | Quantised


class AbstractKernelAttention(AbstractAttention):
    """An attention that is its block kernel over all keys, however those are spread over `axis`.

    That is what lets `read_stored` run the same kernel over keys that are stored in other bits.
    """

    kernel: AbstractVar[AbstractBlockKernel]
    axis: AbstractVar[str]


def read_stored(
    attention: AbstractKernelAttention,
    q: Float[Array, "B T H D"],
    k: Stored,
    v: Stored,
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
) -> Float[Array, "B T H D"]:
    """Attention of queries, whole on every shard, over stored keys that lie on the attention's axis; in q's dtype.

    Not differentiable.
    """
    site = AttentionSite.of(q, k, rule)
    require(attention, site)
    axis = attention.axis if site.mesh.get(attention.axis, 1) > 1 else None
    placement, reader = Placement(site.mesh, kv_axis=axis), _Reader(attention.kernel, axis)

    def read(q, k, v, q_at, kv_at):
        return reader.forward(q, k, v, q_at, kv_at, rule).out.astype(q.dtype)

    if placement.alone:
        return read(q, k, v, q_at, kv_at)
    coords = placement.fit(_bare(q_at), None), placement.fit(_bare(kv_at), axis)
    fitted = placement.fit(q, None), _fit(placement, k), _fit(placement, v)
    queries, keys = placement.spec(None, heads=True), (_spec(placement, k), _spec(placement, v))
    specs = queries, *keys, placement.spec(None), placement.spec(axis)
    return placement.restore(placement.run(read, specs, queries)(*fitted, *coords), q)


@dataclass(frozen=True)
class _Reader:
    """One shard's share: its keys a chunk at a time, then what all shards of `axis` found."""

    kernel: AbstractBlockKernel
    axis: str | None

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        whole, parts, keys = q, accumulator(self.kernel), kv_at.segment.shape[1]
        q, q_at = regrouped(q, q_at, k.shape[2])
        size = min(_CHUNK, keys)
        seen = _chunks_seen(q_at, kv_at, size, rule)

        def add(n, running):
            # The last chunk ends where the keys end; what it shares with the one before is hidden from it.
            start = jnp.minimum(n * size, keys - size)
            key, value = (_chunk(x, start, size).astype(q.dtype) for x in (k, v))
            position, segment = (_cut(x, start, size) for x in (kv_at.position, kv_at.segment))
            fresh = start + jnp.arange(size, dtype=jnp.int32) >= n * size
            at = TokenCoords(position, jnp.where(fresh, segment, 0))
            return parts.accumulate(running, q, key, value, q_at, at, rule)

        def step(n, running):
            return jax.lax.cond(seen[n], add, lambda _, running: running, n, running)

        found = ungrouped(parts.result(jax.lax.fori_loop(0, seen.shape[0], step, parts.start(q)), q), whole)
        return found if self.axis is None else merge_over(found, self.axis)


def _chunks_seen(q_at: TokenCoords, kv_at: TokenCoords, size: int, rule: Visibility) -> Bool[Array, " n"]:
    some, _ = visible_blocks(Extent.of(q_at, q_at.segment.shape[1]), Extent.of(kv_at, size), rule)
    return some.any(axis=(0, 1))


def _chunk(stored: Stored, start, size: int) -> Stored:
    if not isinstance(stored, Quantised):
        return _cut(stored, start, size)
    return Quantised(_cut(stored.steps, start, size), _cut(stored.scale, start, size, axis=2))


def _cut(x: Array, start, size: int, axis: int = 1) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis=axis)


def _bare(at: TokenCoords) -> TokenCoords:
    """Without summaries, which need not divide over the shards of a cache."""
    return TokenCoords(at.position, at.segment)


def _fit(placement: Placement, stored: Stored) -> Stored:
    def fit(x: Array) -> Array:
        return cast(Array, placement.fit(x, placement.kv_axis))

    if not isinstance(stored, Quantised):
        return fit(stored)
    return Quantised(fit(stored.steps), fit(stored.scale.swapaxes(1, 2)[..., None])[..., 0].swapaxes(1, 2))


def _spec(placement: Placement, stored: Stored):
    whole = placement.spec(placement.kv_axis, heads=True)
    if not isinstance(stored, Quantised):
        return whole
    rows, slots, heads, _ = whole
    return jax.tree.map(lambda x: whole if x.ndim == 4 else PartitionSpec(rows, heads, slots), stored)
