"""Structural similarity of pictures, in NumPy. Owns the formula; which pictures, and what is reported, is `score`'s."""

import numpy as np
from jaxtyping import Float, Float64


RADIUS, SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(one: Float[np.ndarray, "N Y X C"], other: Float[np.ndarray, "N Y X C"]) -> Float64[np.ndarray, " N"]:
    """The mean structural similarity of each pair of pictures with values in [0, 1]; 1 for equal ones.

    Wang et al., Image quality assessment (2004): a Gaussian window of 11 pixels and deviation 1.5, over all places
    where it fits, each colour apart. Where a side is shorter than the window, the window is cut to the side.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance = _blurred(a * a) - mean_a**2 + _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return (top / ((mean_a**2 + mean_b**2 + C1) * (variance + C2))).mean(axis=(1, 2, 3))


def _blurred(pictures: np.ndarray) -> np.ndarray:
    """Under the window, which never leaves the picture."""
    for axis in (1, 2):
        length = pictures.shape[axis]
        radius = min(RADIUS, (length - 1) // 2)
        window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
        reach = length - 2 * radius
        blurred = np.zeros_like(np.take(pictures, np.arange(reach), axis))
        for at, weight in enumerate(window / window.sum()):
            blurred += weight * np.take(pictures, np.arange(at, at + reach), axis)
        pictures = blurred
    return pictures
