"""How much a segment counts: per token, per example, or between.

Owns the rule only; rows apply it where segments are whole. Every objective divides by the sum of the weights,
so with n loss tokens in a segment: "token" is the mean over tokens, "example" the mean over segments of each
segment's mean (as if unpacked and padded: LWM, masked sequence packing), "sqrt" weighs a segment by √n.

A document that is cut over rows is a segment in each, and each piece counts as one: so it does where every piece has
a padded row of its own, and no row has to know of another. Who weighs by example and cuts short documents
(`cut = "continue"`) gives their scraps a document's weight: let best-fit, or `cut = "long"`, keep them whole.
"""

from typing import Literal

import numpy as np


Weighting = Literal["token", "example", "sqrt"]
POWER = {"token": 0.0, "example": -1.0, "sqrt": -0.5}


def check_weighting(weighting: str) -> None:
    if weighting not in POWER:
        raise ValueError(f"weighting={weighting!r}: give {', '.join(POWER)}.")


def segment_scale(loss_sums: np.ndarray, weighting: Weighting) -> np.ndarray:
    """The factor for the tokens of each segment, from the sum of its loss; 0 where it has none."""
    has_loss = loss_sums > 0
    return np.where(has_loss, np.where(has_loss, loss_sums, 1.0) ** POWER[weighting], 0.0)
