"""Attention on one shard of the sequence: a block kernel with the whole row in its hands.

Owns the simplest attention that trains: no communication over the sequence, rows spread over dp and fsdp,
heads over tp. Also decoding, where few queries look at a cache. Sequences spread over sp need a schedule from
a plugin.
"""

import equinox as eqx
from jaxtyping import Array, Float

from lwm_core.attention.attend import attend
from lwm_core.attention.base import AbstractBlockKernel, AttentionSite, Support, require
from lwm_core.attention.blockwise import BlockwiseKernel
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.attention.placement import Placement, heads_support, shard_site
from lwm_core.attention.stored import AbstractKernelAttention
from lwm_core.layout.base import AbstractLayout
from lwm_core.layout.contiguous import Contiguous
from lwm_core.mesh.axes import SEQUENCE


class LocalAttention(AbstractKernelAttention):
    """One block kernel over whole rows, forward and backward.

    **Arguments:**

    - `kernel`: computes the attention of one device.
    - `layout`: the order in which rows arrive; attention is right in any.
    """

    kernel: AbstractBlockKernel = eqx.field(default_factory=BlockwiseKernel)
    layout: AbstractLayout = eqx.field(default_factory=Contiguous)

    @property
    def axis(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return SEQUENCE

    def supports(self, site: AttentionSite) -> Support:
        shards = site.mesh.get(SEQUENCE, 1)
        if shards > 1:
            return Support(
                False,
                f"the mesh spreads sequences over {SEQUENCE}={shards} and this attention holds whole rows: "
                f"use an attention that communicates, such as 'ring', or a mesh with {SEQUENCE}=1.",
            )
        support = heads_support(site)
        return self.kernel.supports(shard_site(site)) if support.ok else support

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
        return attend(self.kernel, Placement(site.mesh), q, k, v, q_at, kv_at, rule)
