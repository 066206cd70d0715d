"""A picture of what a tokenizer does: frames in the upper row, below each what is left of it. Owns the layout."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lwm_core.vision import AbstractVisionTokenizer
from lwm_core.vision.write import write_frames


SCALE = 2  # screen pixels per pixel


def sheet(path: Path, tokenizer: AbstractVisionTokenizer, frames: np.ndarray, *, across: int = 8) -> Path:
    """Writes the picture (PNG) of uint8 `frames`, `across` to a row."""
    shown = frames.astype(np.float32) / 255
    made = np.asarray(tokenizer.decode(tokenizer.encode(jnp.asarray(shown))))
    across = min(across, len(frames))
    rows = [
        _side_by_side(each[at : at + across], across) for at in range(0, len(frames), across) for each in (shown, made)
    ]
    return write_frames(path, np.concatenate(rows), scale=SCALE)


def _side_by_side(frames: np.ndarray, across: int) -> np.ndarray:
    """One row of pictures, filled up with white."""
    blank = np.ones((across - len(frames), *frames.shape[1:]), frames.dtype)
    return np.concatenate(np.concatenate([frames, blank]), axis=1)
