"""What a frame of pixels shows: which things, in which colours, where; or that it shows something else.

Owns the exact detector: every look at every pixel offset is laid over the frame, and the best one stands where its
square of pixels is nearly that of the drawing. It knows no caption and no tokenizer; a frame that is not clear is
said to be so. Source: matching by least squares, taken away one thing at a time.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lwm_procvid.clips import Clip, Motion
from lwm_procvid.world import BACKGROUND, LOOKS, SIDE, Look, Thing, drawn, mask, paint


ALIKE = 0.2  # of a drawing's own energy: the most that its square of pixels may differ from it by
TINT = 0.25  # distance in red, green and blue: the most that a thing's mean colour may be off; colours are 0.6 apart
EMPTY = 12.0  # squared error over a frame that is no thing: the least thing, the digit 1, has 61
MOST = 9  # things looked for in a frame
SLACK = 1  # pixels that a thing may stand off its way


class Seen(NamedTuple):
    """The things of a frame from the clearest on, and whether the rest is background."""

    things: tuple[Thing, ...]
    clear: bool

    @property
    def looks(self) -> tuple[Look, ...]:
        return tuple(sorted(thing.look for thing in self.things))


class Verdict(NamedTuple):
    """Whether a clip is what a caption says: - `frames`: each frame's things; - `motion`: their way, too."""

    frames: tuple[bool, ...]
    motion: bool

    @property
    def content(self) -> bool:
        """Whether every frame contains what the caption says of it."""
        return all(self.frames)

    @property
    def right(self) -> bool:
        """Whether the caption holds in full."""
        return self.content and self.motion


def see(pixels: Float[np.ndarray, "Y X 3"]) -> Seen:
    """What is there, from pixels in [0, 1]."""
    rest = np.asarray(pixels, np.float32) - np.asarray(BACKGROUND, np.float32)
    things: list[Thing] = []
    while len(things) < MOST and np.square(rest).sum() > EMPTY:
        thing, differing = _best(rest)
        square = rest[thing.y : thing.y + SIDE, thing.x : thing.x + SIDE]
        if differing > ALIKE or _tint(square, thing.look) > TINT:
            return Seen(tuple(things), False)
        things.append(thing)
        rest = rest.copy()
        rest[thing.y : thing.y + SIDE, thing.x : thing.x + SIDE] = 0
    return Seen(tuple(things), bool(np.square(rest).sum() <= EMPTY))


def judge(clip: Clip, frames: Float[np.ndarray, "N Y X 3"]) -> Verdict:
    """Whether these pixels are the clip that its caption tells of; places are free, ways and seconds are not."""
    seen = [see(frame) for frame in frames]
    if len(seen) != len(clip.frames):
        return Verdict((False,) * len(clip.frames), False)
    held = tuple(one.clear and one.looks == looks for one, looks in zip(seen, clip.looks, strict=True))
    return Verdict(held, clip.motion is None or (all(held) and _moves(seen, clip.motion)))


def _moves(seen: Sequence[Seen], motion: Motion) -> bool:
    first = seen[0].things[0]
    ways = [(one.things[0].x - first.x - t * motion.x, one.things[0].y - first.y - t * motion.y)
            for t, one in enumerate(seen)]  # fmt: skip
    return all(abs(pixels) <= SLACK for way in ways for pixels in way)


@cache
def _drawings() -> tuple[np.ndarray, np.ndarray]:
    """Each look's square less the background, flat `[L, S·S·3]`, and its energy `[L]`."""
    flat = np.stack([(drawn(look) - np.asarray(BACKGROUND, np.float32)).reshape(-1) for look in LOOKS])
    return flat, np.square(flat).sum(axis=1)


def _tint(square: np.ndarray, look: Look) -> float:
    """How far the mean colour of what the look fills is from its own."""
    mean = square[mask(look.name)].mean(axis=0) + np.asarray(BACKGROUND, np.float32)
    return float(np.linalg.norm(mean - paint(look.colour)))


def _best(rest: np.ndarray) -> tuple[Thing, float]:
    """The thing that explains most of what is left, and by how much its square differs, as a share of its energy."""
    drawings, energy = _drawings()
    windows = np.lib.stride_tricks.sliding_window_view(rest, (SIDE, SIDE), axis=(0, 1))  # Y X 3 S S
    rows, columns = windows.shape[:2]
    flat = np.moveaxis(windows, 2, -1).reshape(rows * columns, -1)
    explained = 2 * flat @ drawings.T - energy  # squared error without the thing less squared error with it
    place, look = np.unravel_index(int(np.argmax(explained)), explained.shape)
    y, x = divmod(int(place), columns)
    error = np.square(flat[place] - drawings[look]).sum()
    return Thing(LOOKS[look], x, y), float(error / energy[look])
