"""Ring attention: keys and values travel round the sequence axis, queries stay.

Owns the ring schedule, forward and backward. N shards take N-1 hops for keys and values, in their storage
dtype and with their own number of heads; each hop is issued before the compute that it overlaps. It knows no
mask and no softmax: a block kernel computes each hop, and coordinates travel with the keys.
Source: Ring Attention with Blockwise Transformers (arXiv:2310.01889).
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention import (
    AbstractBlockKernel,
    AbstractKernelAttention,
    AttentionSite,
    BlockGrads,
    BlockOut,
    BlockwiseKernel,
    Support,
    TokenCoords,
    Visibility,
    accumulator,
    any_visible,
    require,
)
from lwm_core.layout import AbstractLayout, Zigzag
from lwm_ring.spread import check_axis, kernel_support, spread, spread_support
from lwm_ring.wire import Wire


class RingAttention(AbstractKernelAttention):
    """Attention of a sequence spread over `axis`, exact, with memory for two blocks of keys per shard.

    Takes and returns global arrays in the layout's order under the ambient mesh. A length that does not divide
    is padded inside. With no mesh, or `axis` of size 1, the kernel alone computes it.

    **Arguments:**

    - `kernel`: computes each hop.
    - `layout`: the order of tokens over shards; zigzag balances causal rows.
    - `axis`: the mesh axis that the sequence lies on.
    """

    kernel: AbstractBlockKernel = eqx.field(default_factory=BlockwiseKernel)
    layout: AbstractLayout = eqx.field(default_factory=Zigzag)
    axis: str = eqx.field(static=True, default="sp")

    def __check_init__(self):
        check_axis(self, self.axis)

    def supports(self, site: AttentionSite) -> Support:
        shards = site.mesh.get(self.axis, 1)
        support = spread_support(site, self.axis)
        return kernel_support(self.kernel, site, shards, shards) if support.ok else support

    def __call__(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        *,
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> Float[Array, "B T H D"]:
        site = AttentionSite.of(q, k, rule)
        require(self, site)
        schedule = Ring(self.kernel, self.axis)
        return spread(schedule, self.kernel, self.axis, site, q, k, v, q_at, kv_at, rule)


@dataclass(frozen=True)
class Ring:
    """A schedule (`lwm_core.attention.Schedule`): queries and keys both cut over `axis`.

    Every `stride`-th shard is a neighbour, so that an axis of N shards holds `stride` rings of N / stride.
    A shard whose queries see nothing of a hop's keys computes nothing there.
    """

    kernel: AbstractBlockKernel
    axis: str
    stride: int = 1

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        parts, wire = accumulator(self.kernel), Wire.of(kv_at)

        def see(seen, block):
            key, value, at = block
            at = wire.unpacked(at)

            def add(seen):
                return parts.accumulate(seen, q, key, value, q_at, at, rule)

            return jax.lax.cond(any_visible(q_at, at, rule), add, lambda seen: seen, seen)

        def hop(carry, _):
            block, seen = carry
            coming = self._pass_on(block)
            return _together((coming, see(seen, block))), None

        start = (k, v, wire.packed(kv_at)), parts.start(q)
        (block, seen), _ = jax.lax.scan(hop, start, length=self._shards() - 1)
        return parts.result(see(seen, block), q)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads:
        """Gradients of keys travel with their keys and make one hop more, home.

        A hop adds to sums that travelled while it computed, so no transfer waits for a kernel. The shard's own keys
        come first for half of the queries and last for the others: something to compute while keys set out, and
        while gradients come home. Sums travel in the statistics' dtype.
        """
        wire, queries = Wire.of(kv_at), _Queries(q, q_at, lse, delta, dout)
        half = -(-q.shape[1] // 2)

        def grads(queries: _Queries, block) -> BlockGrads:
            key, value, at = block
            at = wire.unpacked(at)

            def some() -> BlockGrads:
                q, q_at, lse, delta, dout = queries
                return self.kernel.backward(q, key, value, q_at, at, rule, lse, delta, dout)

            def none() -> BlockGrads:
                return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(some))

            return jax.lax.cond(any_visible(queries.at, at, rule), some, none)

        def hop(carry, block):
            dq, travelled = carry
            travelled = self._pass_on(travelled)
            own = grads(queries, block)
            return dq + own.dq, (travelled[0] + own.dk, travelled[1] + own.dv)

        def middle(carry, _):
            block, sums = carry
            coming = self._pass_on(block)
            return _together((coming, hop(sums, block))), None

        own = k, v, wire.packed(kv_at)
        coming = self._pass_on(own)
        early = grads(queries.cut(0, half), own)
        dq = jnp.pad(early.dq, ((0, 0), (0, q.shape[1] - half), (0, 0), (0, 0)))
        carry = _together((coming, (dq, (early.dk, early.dv))))
        (block, sums), _ = jax.lax.scan(middle, carry, length=self._shards() - 2)
        (dq, travelled), own, queries = _together((hop(sums, block), own, queries))
        dk, dv = self._pass_on(travelled)
        if half == q.shape[1]:
            return BlockGrads(dq, dk, dv)
        late = grads(queries.cut(half, q.shape[1]), own)
        dq = jax.lax.dynamic_update_slice_in_dim(dq, dq[:, half:] + late.dq, half, axis=1)
        return BlockGrads(dq, dk + late.dk, dv + late.dv)

    def _pass_on(self, block):
        """What the previous shard held; every shard gives to the next."""
        size = jax.lax.axis_size(self.axis)
        to_next = [(r, (r + self.stride) % size) for r in range(size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, to_next), block)

    def _shards(self) -> int:
        return jax.lax.axis_size(self.axis) // self.stride


def _together(arrays):
    """The arrays, none of which is used before all are there: what travels is waited for after what is computed."""
    return jax.lax.optimization_barrier(arrays)


class _Queries(NamedTuple):
    """What the backward pass needs of the queries."""

    q: Float[Array, "B T H D"]
    at: TokenCoords
    lse: Float[Array, "B H T"]
    delta: Float[Array, "B H T"]
    dout: Float[Array, "B T H D"]

    def cut(self, start: int, stop: int) -> "_Queries":
        """The queries of these slots."""
        q, dout = (x[:, start:stop] for x in (self.q, self.dout))
        lse, delta = (x[:, :, start:stop] for x in (self.lse, self.delta))
        return _Queries(q, self.at.cut(start, stop), lse, delta, dout)
