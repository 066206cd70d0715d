"""Writing frames as PNG, GIF or MP4.

Owns the three formats. Files are written whole or not at all: a broken run leaves what was there before.
PyAV and Pillow are the optional extra `video`, imported on use. Reading is `video`'s.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from lwm_core.vision.video import need


def write_frames(path: str | Path, frames: np.ndarray, *, fps: float = 4.0, scale: int = 1) -> Path:
    """Writes `frames` in the format that the suffix names and returns the path.

    **Arguments:**

    - `path`: ends in .png (one frame), .gif or .mp4; its folder is made when missing;
    - `frames`: `[N, Y, X, 3]` or one `[Y, X, 3]`; float in [0, 1] (clipped) or uint8;
    - `fps`: frames per second (GIF keeps hundredths of a second);
    - `scale`: whole number of screen pixels per pixel, nearest neighbour.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: no writer for {path.suffix!r}: give a name that ends in {', '.join(WRITERS)}.")
    if fps <= 0 or scale < 1:
        raise ValueError(f"fps={fps}, scale={scale}: give a positive rate and a scale of at least 1.")
    pixels = _bytes(path, np.asarray(frames)).repeat(scale, axis=1).repeat(scale, axis=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        writer(partial, pixels, fps)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _bytes(path: Path, frames: np.ndarray) -> np.ndarray:
    """uint8 `[N, Y, X, 3]`."""
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(f"{path}: frames of shape {frames.shape}: give (N, Y, X, 3) with at least one frame.")
    if frames.dtype == np.uint8:
        return frames
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"{path}: frames of {frames.dtype}: give uint8, or float in [0, 1].")
    return np.round(np.clip(np.nan_to_num(frames), 0, 1) * 255).astype(np.uint8)


def _png(path: Path, pixels: np.ndarray, fps: float) -> None:
    if len(pixels) != 1:
        raise ValueError(f"{len(pixels)} frames do not fit one PNG: name a .gif or .mp4, or give one frame.")
    need("PIL.Image").fromarray(pixels[0]).save(path)


def _gif(path: Path, pixels: np.ndarray, fps: float) -> None:
    first, *rest = (need("PIL.Image").fromarray(frame) for frame in pixels)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(path: Path, pixels: np.ndarray, fps: float) -> None:
    av = need("av")
    _, rows, columns, _ = pixels.shape
    # 4:2:0 halves the colour planes, so sides must be even; the last row or column is doubled where they are not.
    pixels = np.pad(pixels, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[1:3], "yuv420p"
        for index, frame in enumerate(pixels):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


WRITERS: dict[str, Callable[[Path, np.ndarray, float], None]] = {".png": _png, ".gif": _gif, ".mp4": _mp4}
