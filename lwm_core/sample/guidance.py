"""Classifier-free guidance (Ho & Salimans 2022, eq. 6). Owns the formula and its prompts, and no loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float32, Integer


Ids = Sequence[int] | Integer[np.ndarray, " n"]


@dataclass(frozen=True)
class Guidance:
    """How far to push from what an unconditional prompt would give.

    - `scale`: 1 is the conditional model alone, 0 the unconditional one; LWM: 5 for pictures, 1 for clips;
    - `prompts`: ids of the unconditional prompts, one for each prompt or one for all.
    """

    scale: float
    prompts: Sequence[Ids]


def guide(
    conditional: Float32[Array, "B V"], unconditional: Float32[Array, "B V"], scale: Float32[Array, ""]
) -> Float32[Array, "B V"]:
    """`u + scale * (c - u)`."""
    return unconditional + scale * (conditional - unconditional)
