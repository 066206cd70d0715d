"""How the rotary base grows with the context: the NTK-aware floor, and power laws fitted to what others trained with.

Owns pure functions of numbers, for schedules and for ropes alike. What a rope does with its base is
`lwm_core.model`'s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


def ntk_theta(theta: float, factor: float, width: int) -> float:
    """The base that stretches the slowest pair `factor`-fold and leaves the fastest alone: θ · s^(d/(d-2)).

    - `width`: of a head, d. Source: NTK-aware scaling (bloc97, 2023), as in Hugging Face's "dynamic".
    """
    if width <= 2:
        raise ValueError(f"width={width}: NTK scaling needs a head of at least 4 numbers.")
    if factor < 1:
        raise ValueError(f"factor={factor:g}: the context only grows; give a factor of at least 1.")
    return theta * factor ** (width / (width - 2))


@dataclass(frozen=True)
class PowerLaw:
    """θ(L) = `scale` · L^`exponent`."""

    scale: float
    exponent: float

    def __call__(self, length: int) -> float:
        return self.scale * length**self.exponent

    @staticmethod
    def fit(thetas: Mapping[int, float]) -> "PowerLaw":
        """The law nearest to these (length → θ), by least squares on the logarithms."""
        if len(thetas) < 2:
            raise ValueError(f"A power law through {dict(thetas)}: give at least two lengths.")
        xs = [math.log(length) for length in thetas]
        ys = [math.log(theta) for theta in thetas.values()]
        x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
        exponent = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / math.fsum(
            (a - x) ** 2 for a in xs
        )
        return PowerLaw(math.exp(y - exponent * x), exponent)


def auto_theta(length: int, law: PowerLaw, *, base_length: int, base_theta: float, width: int) -> float:
    """A base for `length`: what `law` says, and never under the NTK-aware floor of the model that is extended.

    - `base_length`, `base_theta`: what that model was trained at; `width`: of its heads.
    """
    return max(ntk_theta(base_theta, length / base_length, width), law(length))
