"""Ulysses attention: shards trade slots for heads, compute whole rows of a few heads, and trade back.

Owns that schedule. Cheap on the wire and indifferent to layout, but it cannot spread over more shards than
there are key heads. Source: DeepSpeed Ulysses (arXiv:2309.14509).
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
    Schedule,
    Support,
    TokenCoords,
    Visibility,
    require,
)
from lwm_core.layout import AbstractLayout, Contiguous
from lwm_core.mesh import HEADS
from lwm_ring.spread import check_axis, is_decoding, kernel_support, spread, spread_support
from lwm_ring.wire import gathered


class UlyssesAttention(AbstractKernelAttention):
    """Attention of a sequence spread over `axis`, each shard holding whole rows of its share of the heads.

    Needs key heads (per tp shard) that divide over `axis`.

    **Arguments:** as `RingAttention`.
    """

    kernel: AbstractBlockKernel = eqx.field(default_factory=BlockwiseKernel)
    layout: AbstractLayout = eqx.field(default_factory=Contiguous)
    axis: str = eqx.field(static=True, default="sp")

    def __check_init__(self):
        check_axis(self, self.axis)

    def supports(self, site: AttentionSite) -> Support:
        shards = site.mesh.get(self.axis, 1)
        support = spread_support(site, self.axis)
        if not support.ok:
            return support
        if is_decoding(site):
            return kernel_support(self.kernel, site, 1, shards)
        groups = site.kv_heads // site.mesh.get(HEADS, 1)
        if groups % shards:
            return Support(
                False,
                f"{groups} key heads (per {HEADS} shard) do not divide over {self.axis}={shards}: use a smaller "
                f"{self.axis}, or an attention that spreads any number of heads, such as 'ulysses-ring' or 'ring'.",
            )
        part = site._replace(heads=site.heads // shards, kv_heads=site.kv_heads // shards)
        return kernel_support(self.kernel, part, 1, 1)

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
        schedule = Ulysses(self.kernel, self.axis)
        return spread(schedule, self.kernel, self.axis, site, q, k, v, q_at, kv_at, rule)


@dataclass(frozen=True)
class Ulysses:
    """A schedule (`lwm_core.attention.Schedule`): one all-to-all before and one after `inner`.

    Shards trade within groups of `size` neighbours, all of the axis by default. `inner` meets a group's slots and
    a share of the heads: it is a kernel where one group holds the whole row, and a schedule over groups elsewhere.
    """

    inner: Schedule
    axis: str
    size: int | None = None

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        q_at, kv_at = self._whole((q_at, kv_at))
        heads = self._to_heads
        out, lse = self.inner.forward(heads(q), heads(k), heads(v), q_at, kv_at, rule)
        return BlockOut(self._to_slots(out.astype(q.dtype)), self._trade(lse, 2, 1))

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads:
        q_at, kv_at = self._whole((q_at, kv_at))
        lse, delta = self._trade(lse, 1, 2), self._trade(delta, 1, 2)
        heads, slots = self._to_heads, self._to_slots
        dq, dk, dv = self.inner.backward(heads(q), heads(k), heads(v), q_at, kv_at, rule, lse, delta, heads(dout))
        # Nothing is summed after the trade, so the final dtype may travel.
        return BlockGrads(slots(dq.astype(q.dtype)), slots(dk.astype(k.dtype)), slots(dv.astype(v.dtype)))

    def _whole(self, coords: tuple[TokenCoords, TokenCoords]) -> tuple[TokenCoords, TokenCoords]:
        q_at, kv_at = (gathered(at, self.axis, self._groups()) for at in coords)
        return q_at, kv_at

    def _to_heads(self, x: Float[Array, "B t H D"]) -> Float[Array, "B T h D"]:
        return self._trade(x, 2, 1)

    def _to_slots(self, x: Float[Array, "B T h D"]) -> Float[Array, "B t H D"]:
        return self._trade(x, 1, 2)

    def _trade(self, x, split: int, join: int):
        groups = self._groups()
        return jax.lax.all_to_all(x, self.axis, split, join, tiled=True, axis_index_groups=groups)

    def _groups(self) -> list[list[int]] | None:
        """Which shards trade with each other; None is all of them."""
        shards = jax.lax.axis_size(self.axis)
        if self.size in (None, shards):
            return None
        return [list(range(start, start + self.size)) for start in range(0, shards, self.size)]
