"""Nearest-code search, and the codebook that is searched.

Owns how a latent becomes an index. Always float32 at the highest precision: in bfloat16 or TF32 near ties
flip, and an index that flips is a different token.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray


class Embedding(eqx.Module):
    """A table of code vectors."""

    weight: Float[Array, "K D"]

    def __init__(self, codes: int, dim: int, *, key: PRNGKeyArray):
        self.weight = jax.random.uniform(key, (codes, dim), minval=-1.0 / codes, maxval=1.0 / codes)


class Codebook(eqx.Module):
    """Latents to the index of the nearest code (squared distance, nothing normalised), and back."""

    embedding: Embedding

    def nearest(self, latents: Float[Array, "*n D"]) -> Int32[Array, "*n"]:
        return jnp.argmin(squared_distances(latents, self.embedding.weight), axis=-1).astype(jnp.int32)

    def lookup(self, codes: Int32[Array, "*n"]) -> Float[Array, "*n D"]:
        return self.embedding.weight[codes]


def squared_distances(latents: Float[Array, "*n D"], codes: Float[Array, "K D"]) -> Float32[Array, "*n K"]:
    """Squared distance to every code, less the latent's own square, which no comparison needs."""
    latents, codes = latents.astype(jnp.float32), codes.astype(jnp.float32)
    products = jnp.einsum("...d,kd->...k", latents, codes, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(codes), axis=-1) - 2 * products
