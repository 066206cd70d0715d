"""What black and white are inside a network whose file does not say: found by reconstruction, and recorded.

Owns the two candidates and the rule. The range that reconstructs the bundled pictures better wins; weights that
reconstruct nothing under either (fresh ones, say) keep the family's default, with a warning and a note that says so.
"""

import logging
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lwm_vqgan.pictures import NAME, pictures
from lwm_vqgan.vqgan import VQGAN


RANGES = {"[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0)}
WIDE = (-1.0, 1.0)
FRAME = 128  # enough to tell the ranges apart, at a quarter of the work of 256 pixels
REACH = 1.0  # dB that a network must gain over one flat colour a picture to count as reconstructing
LOG = logging.getLogger(__name__)


def find_range(tokenizer: VQGAN, path: str | Path) -> VQGAN:
    """`tokenizer` with the better range, and in `range_from` how well each reconstructs."""
    downscale = tokenizer.shape.downscale
    frame = max(min(FRAME, tokenizer.shape.frame) // downscale, 1) * downscale
    shown = pictures(frame)
    reached = _reached(tokenizer.with_sizes(frame=frame, pixel_range=WIDE, frames_at_once=len(shown)), shown)
    flat = decibels(shown, np.broadcast_to(shown.mean(axis=(1, 2), keepdims=True), shown.shape))
    told = ", ".join(f"{name} {value:.2f} dB" for name, value in reached.items())
    told = f"{told}, one flat colour {flat:.2f} dB on {NAME} at {frame} pixels"
    best = max(reached, key=lambda name: reached[name])
    if reached[best] >= flat + REACH:
        return tokenizer.with_sizes(pixel_range=RANGES[best], range_from=f"probed: {told}")
    kept = list(tokenizer.shape.pixel_range)
    LOG.warning(
        "%s: neither pixel range reconstructs pictures (%s), so %s is assumed. Give pixel_range=[0, 1] or [-1, 1] "
        "when you build the family if you know it.",
        path,
        told,
        kept,
    )
    return tokenizer.with_sizes(range_from=f"assumed {kept}, for neither reconstructs: {told}")


def _reached(tokenizer: VQGAN, shown: np.ndarray) -> dict[str, float]:
    """dB of every candidate. The range is an affine map outside the network, so one compiled program of the widest
    range serves them all."""
    wide_low, wide_high = WIDE
    reached = {}
    for name, (low, high) in RANGES.items():
        inside = low + (high - low) * shown
        codes = tokenizer.encode(jnp.asarray((inside - wide_low) / (wide_high - wide_low)))
        made = wide_low + (wide_high - wide_low) * np.asarray(tokenizer.decode(codes))
        reached[name] = decibels(shown, np.clip((made - low) / (high - low), 0, 1))
    return reached


def decibels(shown: np.ndarray, made: np.ndarray) -> float:
    error = np.square(shown.astype(np.float64) - made).mean(axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-10))))
