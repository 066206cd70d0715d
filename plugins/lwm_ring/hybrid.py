"""Ulysses × ring: neighbours trade slots for heads, and keys travel round the groups of neighbours.

Owns the choice of the two degrees; the schedules are `ulysses` and `ring`, one inside the other. It spreads any
number of key heads over any number of shards, and sends less than a ring where heads allow it.
Source: USP, a unified sequence parallelism (arXiv:2405.07719).
"""

import math

import equinox as eqx
from jaxtyping import Array, Float

from lwm_core.attention import (
    AbstractBlockKernel,
    AbstractKernelAttention,
    AttentionSite,
    BlockwiseKernel,
    Schedule,
    Support,
    TokenCoords,
    Visibility,
    require,
)
from lwm_core.layout import AbstractLayout, Zigzag
from lwm_core.mesh import HEADS
from lwm_ring.ring import Ring
from lwm_ring.spread import check_axis, is_decoding, kernel_support, spread, spread_support
from lwm_ring.ulysses import Ulysses


class UlyssesRingAttention(AbstractKernelAttention):
    """Attention of a sequence spread over `axis`: heads traded inside groups, keys passed round between groups.

    `ulysses` neighbours make a group (fast links are between neighbours), `ring` groups a ring, and their product
    is the size of the axis. A degree that is not given follows from the other; with neither, the pair that puts
    the fewest bytes on the wire is taken, among those that the key heads allow.

    **Arguments:**

    - `kernel`, `layout`, `axis`: as `RingAttention`;
    - `ulysses`: shards that share the heads of one group; divides the key heads (per tp shard);
    - `ring`: groups that keys travel round.
    """

    kernel: AbstractBlockKernel = eqx.field(default_factory=BlockwiseKernel)
    layout: AbstractLayout = eqx.field(default_factory=Zigzag)
    axis: str = eqx.field(static=True, default="sp")
    ulysses: int | None = eqx.field(static=True, default=None)
    ring: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_axis(self, self.axis)
        for name, value in (("ulysses", self.ulysses), ("ring", self.ring)):
            if value is not None and value < 1:
                raise ValueError(f"UlyssesRingAttention({name}={value}): give a positive number of shards, or None.")

    def degrees(self, site: AttentionSite) -> tuple[int, int]:
        """(ulysses, ring) at this site; whether they fit it is `supports`' to say."""
        shards = site.mesh.get(self.axis, 1)
        if self.ulysses is None and self.ring is None:
            common = math.gcd(shards, site.kv_heads // site.mesh.get(HEADS, 1))
            pairs = [(u, shards // u) for u in range(common, 0, -1) if common % u == 0]
            return min(pairs, key=lambda pair: _sent(site, *pair))
        ulysses = self.ulysses or max(1, shards // (self.ring or 1))
        return ulysses, self.ring or max(1, shards // ulysses)

    def supports(self, site: AttentionSite) -> Support:
        shards = site.mesh.get(self.axis, 1)
        support = spread_support(site, self.axis)
        if not support.ok:
            return support
        if shards == 1 or is_decoding(site):
            return kernel_support(self.kernel, site, 1, shards)
        ulysses, ring = self.degrees(site)
        support = self._degrees_support(site, ulysses, ring)
        part = site._replace(heads=site.heads // ulysses, kv_heads=site.kv_heads // ulysses)
        return kernel_support(self.kernel, part, ring, ring) if support.ok else support

    def _degrees_support(self, site: AttentionSite, ulysses: int, ring: int) -> Support:
        shards, heads = site.mesh[self.axis], site.kv_heads // site.mesh.get(HEADS, 1)
        allowed = [u for u in range(1, shards + 1) if shards % u == 0 and heads % u == 0]
        wanted = f"give ulysses as one of {', '.join(map(str, allowed))} and leave ring out, or leave both out"
        if ulysses * ring != shards:
            return Support(False, f"ulysses={ulysses} times ring={ring} is not {self.axis}={shards}: {wanted}.")
        if heads % ulysses:
            return Support(
                False, f"{heads} key heads (per {HEADS} shard) do not divide over ulysses={ulysses}: {wanted}."
            )
        return Support(True)

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
        schedule = self._schedule(*self.degrees(site))
        return spread(schedule, self.kernel, self.axis, site, q, k, v, q_at, kv_at, rule)

    def _schedule(self, ulysses: int, ring: int) -> Schedule:
        inner = Ring(self.kernel, self.axis, stride=ulysses) if ring > 1 else self.kernel
        return Ulysses(inner, self.axis, ulysses) if ulysses > 1 else inner


def _sent(site: AttentionSite, ulysses: int, ring: int) -> float:
    """What one shard sends forward and backward, in numbers per slot and head dimension, times their bytes."""
    size = 2 if site.dtype in ("bfloat16", "float16") else 4
    traded = (2 * site.heads + 2 * site.kv_heads) + (3 * site.heads + 4 * site.kv_heads)
    passed = 2 * 2 * (ring - 1) * site.kv_heads * size + (2 * ring * site.kv_heads * 4 if ring > 1 else 0)
    return traded * size * (ulysses - 1) / ulysses + passed
