"""Frames of one file to ingest, one at a time, and how many to expect; any way to be broken becomes a reason.

Owns uniform sampling, the bound on pictures, and the wording of what decoders say. Decoding is
`lwm_core.vision.video`'s.
"""

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lwm_core.vision.video import Sampling, VideoError, need, read_picture, stream_video
from lwm_ingest.find import Item
from lwm_ingest.problems import Unreadable


Frame = tuple[UInt8[np.ndarray, "Y X 3"], float]


@dataclass(frozen=True)
class Choice:
    """Which frames of a video: `fps` a second, or `frames` of them, evenly over its length; `size` of a side."""

    size: int
    fps: float | None = 1.0
    frames: int | None = None

    def __post_init__(self):
        if (self.fps is None) == (self.frames is None):
            raise ValueError(f"fps={self.fps} and frames={self.frames}: give one of the two.")
        if (self.fps is not None and not 0 < self.fps < float("inf")) or (self.frames is not None and self.frames < 1):
            raise ValueError(f"fps={self.fps} and frames={self.frames}: give a positive number.")

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def expected(item: Item, how: Choice) -> int:
    """About how many frames the file will give, from its header alone; for progress."""
    if item.kind == "image":
        return 1
    try:
        return how.frames or max(1, round(_length(item.path) * (how.fps or 1)))
    except Exception:  # a broken header says nothing here; reading the file says what is wrong with it
        return 1


def frames_of(item: Item, how: Choice) -> Iterator[Frame]:
    """The chosen frames, each with its second. Raises `Unreadable` for a file that does not give them."""
    try:
        yield from _picture(item.path, how) if item.kind == "image" else _video(item.path, how)
    except MemoryError:
        raise
    except Unreadable:
        raise
    except Exception as error:  # decoders of foreign files raise what they like, and no file may end the run
        reason = str(error) if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
        said = reason.removeprefix(f"{item.path}: ").replace(str(item.path), item.name)
        raise Unreadable(f"broken {item.kind}", f"{said.rstrip('.')}.") from error


def _picture(path: Path, how: Choice) -> Iterator[Frame]:
    image = need("PIL.Image")
    with warnings.catch_warnings():
        # Whole pictures are decoded, so what would not fit into bounded memory is refused by its header.
        warnings.simplefilter("error", image.DecompressionBombWarning)
        try:
            with image.open(path) as picture:
                long, short = max(picture.size), min(picture.size)
        except (image.DecompressionBombWarning, image.DecompressionBombError) as error:
            raise Unreadable(
                "picture too large", f"has more than {image.MAX_IMAGE_PIXELS:,} pixels: make it smaller."
            ) from error
        except image.UnidentifiedImageError as error:
            raise Unreadable("broken image", "is not a readable picture: no decoder knows its first bytes.") from error
    if how.size * how.size * long / short > image.MAX_IMAGE_PIXELS:
        raise Unreadable(
            "picture too large",
            f"is so narrow ({long}×{short}) that it has too many pixels at size {how.size}: cut it.",
        )
    yield read_picture(path, Sampling(how.size)).pixels[0], 0.0


def _video(path: Path, how: Choice) -> Iterator[Frame]:
    if how.frames is None:
        yield from stream_video(path, Sampling(how.size, fps=how.fps))
        return
    rate = how.frames / _length(path)
    yield from _finished(stream_video(path, Sampling(how.size, fps=rate)), how.frames)


def _finished(frames: Iterator[Frame], count: int) -> Iterator[Frame]:
    """The first `count`, and then the rest for nothing: a file that breaks off late is broken all the same."""
    yield from itertools.islice(frames, count)
    for _ in frames:
        pass


def _length(path: Path) -> float:
    """Seconds of film, by the header, or by the packets where it does not say."""
    av = need("av")
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise Unreadable("no video stream", "it holds no video stream.")
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return container.duration / 1e6
        ends = [
            float((packet.pts + (packet.duration or 1)) * packet.time_base)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.time_base
        ]
    if not ends or max(ends) <= 0:
        raise Unreadable("no frame", "it holds no frame.")
    return max(ends)
