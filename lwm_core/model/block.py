"""One pre-norm transformer block: attention with rotary positions, then the gated feed-forward.

Attention and rope come from the model, which shares one of each among all blocks. A block holds weights only.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from lwm_core.attention.base import AbstractAttention
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.mesh import constrain, logical
from lwm_core.model.cache import LayerCache, append, attend_cache
from lwm_core.model.ffn import GatedFFN
from lwm_core.model.norm import RMSNorm
from lwm_core.model.rope import AbstractRope


class Block(eqx.Module):
    """Weights of one layer; H query heads, G key/value heads of D numbers each."""

    attention_norm: RMSNorm
    q: Float[Array, "E H D"] = eqx.field(metadata=logical("embed", "heads", None))
    k: Float[Array, "E G D"] = eqx.field(metadata=logical("embed", "kv_heads", None))
    v: Float[Array, "E G D"] = eqx.field(metadata=logical("embed", "kv_heads", None))
    out: Float[Array, "H D E"] = eqx.field(metadata=logical("heads", None, "embed"))
    ffn_norm: RMSNorm
    ffn: GatedFFN

    def __call__(
        self,
        x: Float[Array, "B T E"],
        attention: AbstractAttention,
        rope: AbstractRope,
        at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
        cache: LayerCache | None,
        used: Int32[Array, ""] | None,
    ) -> tuple[Float[Array, "B T E"], LayerCache | None]:
        """The block's output, and the layer's cache with these tokens appended."""
        q, k, v = self._project(self.attention_norm(x), rope, at)
        if cache is not None and used is not None:
            cache = append(cache, k, v, used)
            seen = attend_cache(attention, q, cache, q_at=at, kv_at=kv_at, rule=rule)
        else:
            seen = attention(q, k, v, q_at=at, kv_at=kv_at, rule=rule)
        x = _laid(x + jnp.einsum("bthd,hde->bte", seen, self.out.astype(x.dtype)))
        return _laid(x + self.ffn(self.ffn_norm(x))), cache

    def _project(self, x, rope, at):
        def heads(weight):
            return jnp.einsum("bte,ehd->bthd", x, weight.astype(x.dtype))

        return rope(heads(self.q), at.position), rope(heads(self.k), at.position), heads(self.v)


def _laid(x: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
    return constrain(x, "batch", "tokens", None)


def init_block(
    sizes: tuple[int, int, int, int, int],
    *,
    std: float | Literal["fan-in"],
    out_scale: float,
    eps: float,
    ffn_chunk: int | None,
    key: PRNGKeyArray,
) -> Block:
    """Fresh weights for (width, heads, kv_heads, head_dim, ffn).

    Normal with `std`, or 1/sqrt(fan-in) when "fan-in"; times `out_scale` for the two matrices that write to the
    residual stream.
    """
    width, heads, kv_heads, dim, ffn = sizes
    keys = iter(jax.random.split(key, 7))

    def normal(shape, fan_in, scale=1.0):
        spread = scale * (fan_in**-0.5 if std == "fan-in" else std)
        return spread * jax.random.normal(next(keys), shape, jnp.float32)

    return Block(
        attention_norm=RMSNorm(jnp.ones(width), eps),
        q=normal((width, heads, dim), width),
        k=normal((width, kv_heads, dim), width),
        v=normal((width, kv_heads, dim), width),
        out=normal((heads, dim, width), heads * dim, out_scale),
        ffn_norm=RMSNorm(jnp.ones(width), eps),
        ffn=GatedFFN(
            gate=normal((width, ffn), width),
            up=normal((width, ffn), width),
            down=normal((ffn, width), ffn, out_scale),
            chunk=ffn_chunk,
        ),
    )
