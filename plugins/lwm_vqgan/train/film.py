"""From a film to what training needs: a bank of frames at two scales, and frames held out.

Owns the choice of frames. Decoding is `lwm_core.vision.video`'s.
"""

from pathlib import Path

import numpy as np

from lwm_core.vision.video import Sampling, read_video
from lwm_vqgan.train.bank import FrameBank


SCALES = (1.0, 1.25)  # of the short side: the same scene from a little further and a little nearer


def film_bank(path: str | Path, size: int, *, fps: float, start: float = 0.0, stop: float | None = None) -> FrameBank:
    """Whole frames, not cropped, of a stretch of film; `fps` a second at each of two scales together."""
    each = fps / len(SCALES)
    shapes = [Sampling(round(size * scale), "none", each, start, stop) for scale in SCALES]
    return FrameBank([read_video(path, how).pixels for how in shapes], size)


def film_held_out(path: str | Path, size: int, *, fps: float, start: float, stop: float) -> np.ndarray:
    """Centre squares `[N, size, size, 3]` of another stretch."""
    return read_video(path, Sampling(size, "centre", fps, start, stop)).pixels
