"""Rotary position embedding: angles from positions, in float32 always.

Owns the interface and the plain rotary of RoFormer. Half-split pairs (x[i], x[i + D/2]), as Hugging Face
stores them; importers of interleaved weights permute once, on import. Scaling rules are `rope_scaling`'s.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from equinox import AbstractVar
from jaxtyping import Array, Float, Int32


class AbstractRope(eqx.Module):
    """Turns queries and keys by their positions."""

    theta: AbstractVar[float]

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "B T H D"], position: Int32[Array, "B T"]) -> Float[Array, "B T H D"]:
        """`x` turned, in x's dtype."""


class Rotary(AbstractRope):
    """Angle of pair i at position p: p · theta^(-2i/D) (Su et al. 2021, §3.4.2).

    The angle stays in float32 (or wider): in bfloat16 positions past 256 collapse, which is how LWM's released
    code loses every frame after the first (LWM issue 24).
    """

    theta: float = eqx.field(static=True, default=10_000.0)

    def __call__(self, x: Float[Array, "B T H D"], position: Int32[Array, "B T"]) -> Float[Array, "B T H D"]:
        half = x.shape[-1] // 2
        wide = jnp.promote_types(x.dtype, jnp.float32)
        frequency = jnp.asarray(self.theta, wide) ** (-jnp.arange(half, dtype=wide) / half)
        return turned(x, position, frequency)


def turned(
    x: Float[Array, "B T H D"], position: Int32[Array, "B T"], frequency: Float[Array, " half"], amplitude: float = 1.0
) -> Float[Array, "B T H D"]:
    """`x` with pair i turned by position · frequency[i] radians and made `amplitude` times as long, in x's dtype.

    Angles, cosines and products are float32, or float64 where x is.
    """
    half = x.shape[-1] // 2
    wide = jnp.promote_types(x.dtype, jnp.float32)
    angle = position[:, :, None, None].astype(wide) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if amplitude != 1.0:
        cos, sin = cos * amplitude, sin * amplitude
    left, right = x[..., :half].astype(wide), x[..., half:].astype(wide)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
