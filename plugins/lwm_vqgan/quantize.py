"""Latents to codes and back: the nearest code of a learned codebook, or rounding to a fixed grid (FSQ).

Owns how a latent becomes an index. Always float32 at the highest precision: in bfloat16 or TF32 near ties
flip, and an index that flips is a different token.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray


class AbstractQuantizer(eqx.Module):
    """A rule from latents to codes, and the vector of each code."""

    @abc.abstractmethod
    def nearest(self, latents: Float[Array, "*n D"]) -> Int32[Array, "*n"]:
        """The code of each latent."""

    @abc.abstractmethod
    def lookup(self, codes: Int32[Array, "*n"]) -> Float[Array, "*n D"]:
        """The vector that the decoder sees for each code."""

    @abc.abstractmethod
    def smooth(self, latents: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
        """Where a latent lies among the code vectors before it is moved to one; gradients go through this."""


class Embedding(eqx.Module):
    """A table of code vectors."""

    weight: Float[Array, "K D"]

    def __init__(self, codes: int, dim: int, *, key: PRNGKeyArray):
        self.weight = jax.random.uniform(key, (codes, dim), minval=-1.0 / codes, maxval=1.0 / codes)


class Codebook(AbstractQuantizer):
    """Latents to the index of the nearest code (squared distance, nothing normalised), and back."""

    embedding: Embedding

    def nearest(self, latents: Float[Array, "*n D"]) -> Int32[Array, "*n"]:
        return jnp.argmin(squared_distances(latents, self.embedding.weight), axis=-1).astype(jnp.int32)

    def lookup(self, codes: Int32[Array, "*n"]) -> Float[Array, "*n D"]:
        return self.embedding.weight[codes]

    def smooth(self, latents: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
        return latents


class FiniteScalar(AbstractQuantizer):
    """Every channel of a latent is bounded and rounded to one of its `levels`; the code is the mixed-radix number.

    Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple (arXiv 2309.15505), section 3 and appendix A. There
    is no codebook to learn, and so nothing in it can die. Vectors lie in [-1, 1] in steps of 2 / levels.
    """

    levels: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels={self.levels}: give at least one channel, of at least 2 levels each.")

    def nearest(self, latents: Float[Array, "*n D"]) -> Int32[Array, "*n"]:
        half, radix = self._half, np.cumprod((1, *self.levels[:-1]))
        digits = jnp.round(self.smooth(latents.astype(jnp.float32)) * half) + half
        return jnp.sum(digits.astype(jnp.int32) * radix.astype(np.int32), axis=-1)

    def lookup(self, codes: Int32[Array, "*n"]) -> Float[Array, "*n D"]:
        half, radix = self._half, np.cumprod((1, *self.levels[:-1])).astype(np.int32)
        digits = codes[..., None] // radix % np.array(self.levels, np.int32)
        return (digits - half) / half.astype(np.float32)

    def smooth(self, latents: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
        levels = np.array(self.levels, np.float32)
        reach = (levels - 1) * np.float32(1 - 1e-3) / 2  # a hair inside, so that the outermost level is not overshot
        offset = np.where(levels % 2 == 0, np.float32(0.5), np.float32(0))  # an even number of levels has no middle
        return (jnp.tanh(latents + np.tan(offset / reach)) * reach - offset) / self._half.astype(np.float32)

    @property
    def _half(self) -> np.ndarray:
        return np.array(self.levels, np.int32) // 2


def squared_distances(latents: Float[Array, "*n D"], codes: Float[Array, "K D"]) -> Float32[Array, "*n K"]:
    """Squared distance to every code, less the latent's own square, which no comparison needs."""
    latents, codes = latents.astype(jnp.float32), codes.astype(jnp.float32)
    products = jnp.einsum("...d,kd->...k", latents, codes, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(codes), axis=-1) - 2 * products
