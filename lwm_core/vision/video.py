"""Reading frames from video and picture files: sampled by time, short side to size, centre crop.

Owns decoding and its errors. PyAV and Pillow are the optional extra `video`, imported on use. It does not
import JAX, writes nothing (see `write`), and knows no codes (see `tokens`).
"""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8


EXTRA = 'Reading and writing video needs the packages of the `video` extra: pip install "lwm-jax[video]".'
ODD_FRAMES = 2  # containers miscount by a frame or two at edit lists; fewer than that missing is no damage
SHORT = 0.5  # seconds by which a film may end before its container says, where that counts no frames


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames of one file.

    - `pixels`: sRGB, one frame after another;
    - `seconds`: when each frame is shown, from the start of the file;
    - `name`: the file;
    - `problem`: empty, or a sentence on why the file ended early (only with `on_damage="keep"`).
    """

    pixels: UInt8[np.ndarray, "N Y X 3"]
    seconds: Float64[np.ndarray, " N"]
    name: str = ""
    problem: str = ""

    def __len__(self) -> int:
        return len(self.seconds)

    def unit(self) -> np.ndarray:
        """The pixels as float32 in [0, 1], as a vision tokenizer takes them."""
        return self.pixels.astype(np.float32) / 255


class VideoError(ValueError):
    """A file that does not give its frames. The message names file and reason; `frames` is what was decoded."""

    def __init__(self, message: str, frames: Frames | None = None):
        super().__init__(message)
        self.frames = frames


@dataclass(frozen=True)
class Sampling:
    """Which frames, and at what size.

    - `size`: pixels of the short side (None: as stored);
    - `crop`: "centre" cuts the middle square, "none" keeps the shape;
    - `fps`: frames per second of film (None: every frame). The frame shown at each instant k / fps is taken,
      and none is taken twice, so a rate above the film's own gives the film's;
    - `start`, `stop`: seconds; `stop` None is the end.
    """

    size: int | None = None
    crop: Literal["centre", "none"] = "centre"
    fps: float | None = None
    start: float = 0.0
    stop: float | None = None

    def __post_init__(self):
        if self.crop not in ("centre", "none"):
            raise ValueError(f"Crop {self.crop!r} is not known: give 'centre' or 'none'.")
        if (self.size is not None and self.size < 1) or (self.fps is not None and self.fps <= 0):
            raise ValueError(f"Size {self.size} and fps {self.fps}: give positive numbers, or None.")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(f"From {self.start} s to {self.stop} s is no stretch of film: give stop > start >= 0.")


def read_video(
    path: str | Path, how: Sampling | None = None, *, on_damage: Literal["raise", "keep"] = "raise"
) -> Frames:
    """The sampled frames of a video file.

    Raises `FileNotFoundError`, and `VideoError` when the file is no video, has no frame in the stretch asked
    for, or breaks off; in the last case `VideoError.frames` holds what was decoded, and `on_damage="keep"`
    returns that with `problem` set instead.
    """
    if on_damage not in ("raise", "keep"):
        raise ValueError(f"on_damage={on_damage!r} is not known: give 'raise' or 'keep'.")
    how = how or Sampling()
    frames = _collect(Path(path), how)
    if not len(frames):
        reason = frames.problem or f"no frame between {how.start} s and {how.stop or 'the end'}"
        raise VideoError(f"{path}: {reason}. Give a video file with frames in that stretch.", frames)
    if frames.problem and on_damage == "raise":
        raise VideoError(
            f"{path}: {frames.problem}. {len(frames)} frames were decoded, the last at {frames.seconds[-1]:.2f} s: "
            "give a whole file, or stop before that. read_video(on_damage='keep') uses them.",
            frames,
        )
    return frames


def stream_video(path: str | Path, how: Sampling | None = None) -> Iterator[tuple[UInt8[np.ndarray, "Y X 3"], float]]:
    """The same frames one at a time, each with its second, in memory that does not grow with the film.

    Raises as `read_video` does, for a file that breaks off after its last whole frame.
    """
    how, seen, count = how or Sampling(), _Progress(), 0
    for pixels, seconds in _sampled(Path(path), how, seen):
        count += 1
        yield pixels, seconds
    if not count:
        reason = seen.problem or f"no frame between {how.start} s and {how.stop or 'the end'}"
        raise VideoError(f"{path}: {reason}. Give a video file with frames in that stretch.")
    if seen.problem:
        raise VideoError(f"{path}: {seen.problem}. {count} frames were decoded: give a whole file.")


def read_evenly(path: str | Path, most: int, how: Sampling | None = None) -> Frames:
    """The frames that `how` samples; of more than `most`, that many, evenly from the first to the last.

    The film is decoded twice, so that no more than `most` frames are held. Indices are those of LWM's `vision_chat.py`,
    `linspace(0, n - 1, most)` rounded down. Raises as `read_video` does.
    """
    if most < 1:
        raise ValueError(f"most={most}: give room for at least one frame.")
    how, seen = how or Sampling(), _Progress()
    total = sum(1 for _ in _due(Path(path), how, seen))
    if not total or seen.problem:
        return read_video(path, how)  # which says what is wrong
    wanted = set(np.linspace(0, total - 1, min(total, most)).astype(int).tolist())
    due = enumerate(_due(Path(path), how, _Progress()))
    kept = [(fit_picture(picture(), how), seconds) for at, (picture, seconds) in due if at in wanted]
    return Frames(np.stack([k[0] for k in kept]), np.array([k[1] for k in kept], np.float64), Path(path).name)


def read_picture(path: str | Path, how: Sampling | None = None) -> Frames:
    """One frame from a picture file; raises `VideoError` naming file and reason."""
    image_module = need("PIL.Image")
    try:
        with image_module.open(_existing(Path(path))) as picture:
            upright = need("PIL.ImageOps").exif_transpose(picture)  # as a camera was held, and as it is shown
            pixels = fit_picture(upright.convert("RGB"), how or Sampling())
    except (image_module.UnidentifiedImageError, image_module.DecompressionBombError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise VideoError(f"{path}: not a readable picture ({error}). Give a PNG, JPEG, GIF or WebP.") from error
    return Frames(pixels[None], np.zeros(1), Path(path).name)


def fit_picture(picture, how: Sampling) -> UInt8[np.ndarray, "Y X 3"]:
    """A Pillow picture with its short side at `how.size` (bicubic, antialiased) and cropped as asked."""
    image_module = need("PIL.Image")
    width, height = picture.size
    if how.size is not None:
        scale = how.size / min(width, height)
        width, height = max(how.size, round(width * scale)), max(how.size, round(height * scale))
        picture = picture.resize((width, height), image_module.Resampling.BICUBIC)
    if how.crop == "centre":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture, dtype=np.uint8)


@dataclass
class _Progress:
    """What a pass over a file has seen: frames decoded and the second at which the last ends, of so many frames and
    seconds as the container promises (0 where it does not), and why it stopped."""

    decoded: int = 0
    promised: int = 0
    until: float = 0.0
    lasts: float = 0.0
    problem: str = ""


def _collect(path: Path, how: Sampling) -> Frames:
    seen, pixels, seconds = _Progress(), [], []
    for picture, second in _sampled(path, how, seen):
        pixels.append(picture)
        seconds.append(second)
    empty = np.zeros((0, 1, 1, 3), np.uint8)
    return Frames(np.stack(pixels) if pixels else empty, np.array(seconds, np.float64), path.name, seen.problem)


def _sampled(path: Path, how: Sampling, seen: _Progress) -> Iterator[tuple[UInt8[np.ndarray, "Y X 3"], float]]:
    for picture, seconds in _due(path, how, seen):
        yield fit_picture(picture(), how), seconds


def _due(path: Path, how: Sampling, seen: _Progress) -> Iterator[tuple[Callable[[], Any], float]]:
    """What makes the picture of each sampled frame, and its second."""
    due = how.start
    for picture, seconds, length in _decode(path, how, seen):
        # A frame is due when it is the one on the screen at that instant: it lasts until seconds + length.
        if how.fps is not None and seconds + length <= due + 1e-6:
            continue
        yield picture, seconds
        while how.fps is not None and due + 1e-6 < seconds + length:
            due = how.start + (round((due - how.start) * how.fps) + 1) / how.fps


def _decode(path: Path, how: Sampling, seen: _Progress) -> Iterator[tuple]:
    """Frames from `start` to `stop` as (make picture, seconds, length); leaves a reason in `seen.problem`."""
    av = need("av")
    _existing(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                seen.problem = "it holds no video stream"
                return
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            seen.promised, seen.lasts = stream.frames, _lasts(container, stream)
            length = float(1 / stream.average_rate) if stream.average_rate else 1 / 25
            for frame in container.decode(stream):
                seconds = float(frame.time if frame.time is not None else seen.decoded * length)
                seen.decoded += 1
                seen.until = max(
                    seen.until, seconds + max(length, float((frame.duration or 0) * (stream.time_base or 0)))
                )
                if how.stop is not None and seconds >= how.stop - 1e-6:
                    return
                if seconds + length > how.start + 1e-6:
                    yield frame.to_image, seconds, length
    except av.error.FFmpegError as error:
        seen.problem = f"not readable as video after {seen.decoded} frames ({error.strerror or error})"
        return
    if seen.decoded + ODD_FRAMES < seen.promised:
        seen.problem = f"it breaks off after {seen.decoded} of {seen.promised} frames"
    elif not seen.promised and seen.until + SHORT < seen.lasts:
        seen.problem = f"it breaks off after {seen.until:.1f} of {seen.lasts:.1f} s"


def _lasts(container, stream) -> float:
    """Seconds from 0 to the end of the film, as its container tells; 0 where it does not, or tells of its sound too."""
    told = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska's
    if told:
        return int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
    if stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}: give the path of a video or picture file.")
    return path


def need(module: str) -> ModuleType:
    """A module of the `video` extra; raises `ImportError` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{EXTRA} ({error})") from error
