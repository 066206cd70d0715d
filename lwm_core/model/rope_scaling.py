"""Rotary embeddings stretched beyond the context that a model was trained at, one rule a class.

Owns the rules and their options; the numbers are those of Hugging Face's `rope_scaling`. Frequencies are worked out
once in float64 and used in float32. `theta` stays the base of the unscaled rotary. Turning is `rope`'s.
"""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int32

from lwm_core.curriculum import ntk_theta
from lwm_core.model.rope import AbstractRope, turned


class Angles(NamedTuple):
    """Radians per position of each pair, and the factor on queries and keys (so a score has it squared)."""

    frequency: Float64[np.ndarray, " half"]
    amplitude: float = 1.0


class AbstractScaledRope(AbstractRope):
    """A rotary whose frequencies follow from its options and the head's width alone."""

    @abc.abstractmethod
    def angles(self, width: int) -> Angles:
        """The `width // 2` frequencies, fastest first, and the amplitude; Hugging Face's `inv_freq` and
        `attention_factor`."""

    def __call__(self, x: Float[Array, "B T H D"], position: Int32[Array, "B T"]) -> Float[Array, "B T H D"]:
        frequency, amplitude = self.angles(x.shape[-1])
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return turned(x, position, jnp.asarray(frequency, wide), amplitude)


class LinearRope(AbstractScaledRope):
    """Position interpolation (Chen et al. 2023): every angle divided by `factor`."""

    theta: float = eqx.field(static=True, default=10_000.0)
    factor: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check(self, self.factor)

    def angles(self, width: int) -> Angles:
        return Angles(plain_frequencies(self.theta, width) / self.factor)


class NTKRope(AbstractScaledRope):
    """NTK-aware scaling (bloc97 2023): the base raised to theta · factor^(D/(D-2)), so that the slowest pair is
    stretched `factor`-fold and the fastest not at all."""

    theta: float = eqx.field(static=True, default=10_000.0)
    factor: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check(self, self.factor)

    def angles(self, width: int) -> Angles:
        return Angles(plain_frequencies(ntk_theta(self.theta, self.factor, width), width))


class DynamicNTKRope(AbstractScaledRope):
    """NTK-aware scaling by how far the row exceeds what was trained (emozilla 2023).

    - `factor`: Hugging Face's option; the base is stretched by factor · length / original_length - (factor - 1);
    - `original_length`: the context that the model was trained at;
    - `length`: of the row now. Up to `original_length` nothing changes.

    `length` is an option, not read off the positions: keys in a cache were turned by one base and stay so.
    """

    theta: float = eqx.field(static=True, default=10_000.0)
    factor: float = eqx.field(static=True, default=1.0)
    original_length: int = eqx.field(static=True, default=2048)
    length: int = eqx.field(static=True, default=2048)

    def __check_init__(self):
        _check(self, self.factor, self.original_length)

    def angles(self, width: int) -> Angles:
        over = max(self.length, self.original_length) / self.original_length
        stretch = self.factor * over - (self.factor - 1)
        return Angles(plain_frequencies(ntk_theta(self.theta, stretch, width), width))


class YarnRope(AbstractScaledRope):
    """YaRN (Peng et al. 2023, §3): slow pairs interpolated, fast ones left alone, a ramp between; scores sharpened.

    - `factor`: how many times longer than `original_length` the context is;
    - `beta_fast`, `beta_slow`: turns over `original_length` from which a pair is left alone, and to which it is
      interpolated;
    - `attention_factor`: on queries and keys; None is 0.1 · ln(factor) + 1;
    - `truncate`: whole pairs as the ramp's ends, as Hugging Face has it by default.
    """

    theta: float = eqx.field(static=True, default=10_000.0)
    factor: float = eqx.field(static=True, default=1.0)
    original_length: int = eqx.field(static=True, default=2048)
    beta_fast: float = eqx.field(static=True, default=32.0)
    beta_slow: float = eqx.field(static=True, default=1.0)
    attention_factor: float | None = eqx.field(static=True, default=None)
    truncate: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        _check(self, self.factor, self.original_length)
        if not self.beta_fast > self.beta_slow > 0:
            raise ValueError(
                f"beta_fast={self.beta_fast}, beta_slow={self.beta_slow}: give beta_fast > beta_slow > 0, such as "
                "32 and 1."
            )

    def angles(self, width: int) -> Angles:
        plain = plain_frequencies(self.theta, width)
        low, high = self._ends(width)
        ramp = np.clip((np.arange(width // 2) - low) / (high - low), 0.0, 1.0)
        sharper = 0.1 * math.log(self.factor) + 1.0 if self.attention_factor is None else self.attention_factor
        return Angles(plain * (1.0 - ramp) + plain / self.factor * ramp, sharper)

    def _ends(self, width: int) -> tuple[float, float]:
        """The pairs between which the ramp runs."""
        low, high = (self._pair(turns, width) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = float(math.floor(low)), float(math.ceil(high))
        # Hugging Face holds the upper end to D - 1, not to D/2 - 1, and parts equal ends by 0.001.
        low, high = max(low, 0.0), min(high, width - 1.0)
        return low, high + 0.001 if low == high else high

    def _pair(self, turns: float, width: int) -> float:
        """The (fractional) pair that turns so often over `original_length`."""
        return width * math.log(self.original_length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))


class Llama3Rope(AbstractScaledRope):
    """By parts, as Llama 3.1 (Grattafiori et al. 2024): long wavelengths divided by `factor`, short ones left alone.

    - `low_freq_factor`, `high_freq_factor`: turns over `original_length` below which a pair is divided, and above
      which it is left alone; between them the two are mixed.
    """

    theta: float = eqx.field(static=True, default=500_000.0)
    factor: float = eqx.field(static=True, default=8.0)
    original_length: int = eqx.field(static=True, default=8192)
    low_freq_factor: float = eqx.field(static=True, default=1.0)
    high_freq_factor: float = eqx.field(static=True, default=4.0)

    def __check_init__(self):
        _check(self, self.factor, self.original_length)
        if not self.high_freq_factor > self.low_freq_factor > 0:
            raise ValueError(
                f"high_freq_factor={self.high_freq_factor}, low_freq_factor={self.low_freq_factor}: give "
                "high_freq_factor > low_freq_factor > 0, such as 4 and 1."
            )

    def angles(self, width: int) -> Angles:
        plain = plain_frequencies(self.theta, width)
        turns = self.original_length * plain / (2 * math.pi)
        kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0.0, 1.0)
        return Angles((1.0 - kept) * plain / self.factor + kept * plain)


def plain_frequencies(theta: float, width: int) -> Float64[np.ndarray, " half"]:
    """theta^(-2i/D), the unscaled frequencies of a head of this width."""
    return float(theta) ** (-np.arange(0, width, 2, dtype=np.float64) / width)


def _check(rope: AbstractRope, factor: float, original_length: int = 1) -> None:
    if not rope.theta > 1:
        raise ValueError(f"theta={rope.theta!r}: give a base above 1, such as 10000.")
    if not factor >= 1:
        raise ValueError(f"factor={factor!r}: give how many times longer the context is, at least 1.")
    if original_length < 1:
        raise ValueError(f"original_length={original_length!r}: give the context that the model was trained at.")
