"""The dense oracle: attention by its definition, with a B×H×T×S score array.

Owns the answer that every other attention must give. It is exact in the dtype it computes in (float64 when
x64 is on and q is float64), differentiable by autodiff, and far too large for long rows: that is its point.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention.base import AbstractAttention, AttentionSite, Support, require
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.attention.placement import heads_support
from lwm_core.layout.base import AbstractLayout
from lwm_core.layout.contiguous import Contiguous


class DenseAttention(AbstractAttention):
    """Softmax attention over every visible pair, statistics in at least float32."""

    layout: AbstractLayout = eqx.field(default_factory=Contiguous)

    def supports(self, site: AttentionSite) -> Support:
        return heads_support(site)

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
        require(self, AttentionSite.of(q, k, rule))
        batch, length, heads, dim = q.shape
        groups = k.shape[2]
        wide = jnp.promote_types(q.dtype, jnp.float32)
        split = q.reshape(batch, length, groups, heads // groups, dim).astype(wide) / jnp.sqrt(dim).astype(wide)
        scores = jnp.einsum("btgrd,bsgd->bgrts", split, k.astype(wide))
        seen = rule.mask(q_at, kv_at)[:, None, None]
        scores = jnp.where(seen, scores, -jnp.inf)
        top = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.where(seen, jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0)), 0)
        total = weights.sum(axis=-1, keepdims=True)
        weights = weights / jnp.where(total == 0, 1, total)
        out = jnp.einsum("bgrts,bsgd->btgrd", weights, v.astype(wide))
        return out.reshape(q.shape).astype(q.dtype)
