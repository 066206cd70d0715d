"""Few queries against a cache that is spread over the mesh.

Owns the schedule for decoding and chunked prefill: every shard holds all queries, attends to its own slice of
the cache, and the partial answers are merged by log-sum-exp. The cache never moves. It does not own the cache.
"""

from dataclasses import dataclass

import jax

from lwm_core.attention import AbstractBlockKernel, BlockGrads, BlockOut, merge_over


@dataclass(frozen=True)
class SpreadCache:
    """A schedule (`lwm_core.attention.Schedule`): queries whole on every shard, keys cut over `axis`."""

    kernel: AbstractBlockKernel
    axis: str

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        return merge_over(self.kernel.forward(q, k, v, q_at, kv_at, rule), self.axis)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads:
        own = self.kernel.backward(q, k, v, q_at, kv_at, rule, lse, delta, dout)
        return BlockGrads(jax.lax.psum(own.dq, self.axis), own.dk, own.dv)
