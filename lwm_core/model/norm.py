"""Root-mean-square normalisation (Zhang & Sennrich 2019), statistics in float32.

Where it stands in a block is the block's.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class RMSNorm(eqx.Module):
    """`x / rms(x) * weight`. LWM's released weights were trained with eps 1e-6, Llama-2's with 1e-5."""

    weight: Float[Array, " E"]
    eps: float = eqx.field(static=True, default=1e-6)

    def __call__(self, x: Float[Array, "*n E"]) -> Float[Array, "*n E"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        scale = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * scale).astype(x.dtype) * self.weight.astype(x.dtype)
