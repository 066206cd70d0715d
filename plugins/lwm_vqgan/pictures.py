"""The bundled pictures that tokenizers are judged on: three squares of Big Buck Bunny (see pictures.md).

Owns them and their resizing, in NumPy alone, so that every machine sees the same pixels.
"""

from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32


FILE = Path(__file__).with_name("pictures.npz")
NAME = "bunny-3"


@cache
def pictures(size: int) -> Float32[np.ndarray, "N size size 3"]:
    """The pictures with `size` pixels on a side, in [0, 1]."""
    with np.load(FILE, allow_pickle=False) as file:
        stored = file["pictures"].astype(np.float64) / 255
    weights = _triangle(stored.shape[1], size)
    resized = np.einsum("ty,nyxc,sx->ntsc", weights, stored, weights, optimize=True)
    return np.clip(resized, 0, 1).astype(np.float32)


def _triangle(have: int, want: int) -> np.ndarray:
    """Weights `[want, have]` of linear interpolation, widened where pixels are merged so that none is left out."""
    if have == want:
        return np.eye(have)
    scale = have / want
    centres = (np.arange(want) + 0.5) * scale - 0.5
    reach = np.abs(centres[:, None] - np.arange(have)) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - reach)
    return weights / weights.sum(axis=1, keepdims=True)
