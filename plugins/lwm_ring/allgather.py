"""All-gather attention: every shard collects all keys, then computes its own queries.

Owns that schedule. One collective each way instead of a ring of hops: simple, and quick where keys are small
(few key heads, short rows), at the price of memory for all keys on every shard.
Source: the context parallelism of Llama 3 (arXiv:2407.21783, section 3.3.2).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
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
    require,
)
from lwm_core.layout import AbstractLayout, Zigzag
from lwm_ring.spread import check_axis, kernel_support, spread, spread_support
from lwm_ring.wire import gathered


class AllGatherAttention(AbstractKernelAttention):
    """Attention of a sequence spread over `axis`, each shard holding all keys while it computes.

    **Arguments:** as `RingAttention`.
    """

    kernel: AbstractBlockKernel = eqx.field(default_factory=BlockwiseKernel)
    layout: AbstractLayout = eqx.field(default_factory=Zigzag)
    axis: str = eqx.field(static=True, default="sp")

    def __check_init__(self):
        check_axis(self, self.axis)

    def supports(self, site: AttentionSite) -> Support:
        shards = site.mesh.get(self.axis, 1)
        support = spread_support(site, self.axis)
        return kernel_support(self.kernel, site, shards, 1) if support.ok else support

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
        schedule = AllGather(self.kernel, self.axis)
        return spread(schedule, self.kernel, self.axis, site, q, k, v, q_at, kv_at, rule)


@dataclass(frozen=True)
class AllGather:
    """A schedule (`lwm_core.attention.Schedule`): keys gathered, their gradients summed back to their shards."""

    kernel: AbstractBlockKernel
    axis: str

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        key, value, at = self._gather(k), self._gather(v), gathered(kv_at, self.axis)
        return self.kernel.forward(q, key, value, q_at, at, rule)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads:
        key, value, at = self._gather(k), self._gather(v), gathered(kv_at, self.axis)
        dq, dk, dv = self.kernel.backward(q, key, value, q_at, at, rule, lse, delta, dout)
        return BlockGrads(dq, self._scatter(dk), self._scatter(dv))

    def _gather(self, x):
        return jax.lax.all_gather(x, self.axis, axis=1, tiled=True)

    def _scatter(self, grad):
        return jax.lax.psum_scatter(grad, self.axis, scatter_dimension=1, tiled=True)
