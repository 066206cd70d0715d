"""What there is to see: things, their places, and the pixels of a frame.

Owns the whole world that clips are made of, as plain data, and how it is drawn. What happens in a clip is `clips`';
reading pixels back is `detector`'s.
"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32


FRAME = 32  # pixels on a side
SIDE = 12  # of the square that holds a thing
STEP = 4  # things stand on multiples of this, and move by it in a second
PLACES = tuple(range(0, FRAME - SIDE + 1, STEP))
BACKGROUND = (0.08, 0.08, 0.12)
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.75, 0.15),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.85, 0.1),
    "purple": (0.75, 0.2, 0.85),
}
WHITE = "white"  # of every digit, and of nothing else
SHAPES = ("square", "circle", "triangle", "cross")
DIGITS = tuple("0123456789")
# Strokes of a digit as on a pocket calculator: top, upper left, upper right, middle, lower left, lower right, bottom.
_STROKES = {
    "0": "1110111", "1": "0010010", "2": "1011101", "3": "1011011", "4": "0111010",
    "5": "1101011", "6": "1101111", "7": "1010010", "8": "1111111", "9": "1111011",
}  # fmt: skip
_STROKE_AT = (
    (slice(0, 2), slice(2, 10)),
    (slice(0, 7), slice(2, 4)),
    (slice(0, 7), slice(8, 10)),
    (slice(5, 7), slice(2, 10)),
    (slice(5, 12), slice(2, 4)),
    (slice(5, 12), slice(8, 10)),
    (slice(10, 12), slice(2, 10)),
)


class Look(NamedTuple):
    """What a thing is, wherever it stands: a shape or a digit, and its colour."""

    name: str
    colour: str


class Thing(NamedTuple):
    """A look at a place: the column and the row of its upper left pixel."""

    look: Look
    x: int
    y: int


Frame = tuple[Thing, ...]
LOOKS = (*itertools.starmap(Look, itertools.product(SHAPES, COLOURS)), *(Look(digit, WHITE) for digit in DIGITS))


def paint(colour: str) -> np.ndarray:
    """A colour's red, green and blue in [0, 1]."""
    return np.asarray((1.0, 1.0, 1.0) if colour == WHITE else COLOURS[colour], np.float32)


@cache
def mask(name: str) -> Bool[np.ndarray, "SIDE SIDE"]:
    """Which pixels of its square a shape or digit fills."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    middle = SIDE / 2
    if name in _STROKES:
        filled = np.zeros((SIDE, SIDE), bool)
        for stroke, there in zip(_STROKE_AT, _STROKES[name], strict=True):
            filled[stroke] |= there == "1"
        return filled
    if name == "square":
        return np.ones((SIDE, SIDE), bool)
    if name == "circle":
        return (rows - middle) ** 2 + (columns - middle) ** 2 <= middle**2
    if name == "triangle":
        return np.abs(columns - middle) <= rows / 2
    if name == "cross":
        return (np.abs(rows - middle) < 2) | (np.abs(columns - middle) < 2)
    raise ValueError(f"No thing {name!r}: give one of {', '.join((*SHAPES, *DIGITS))}.")


def drawn(look: Look) -> Float32[np.ndarray, "SIDE SIDE 3"]:
    """A thing in its square, on the background."""
    return np.where(mask(look.name)[..., None], paint(look.colour), np.asarray(BACKGROUND, np.float32))


def render(frame: Frame) -> Float32[np.ndarray, "FRAME FRAME 3"]:
    """Pixels in [0, 1] of a frame; its things do not overlap."""
    pixels = np.broadcast_to(np.asarray(BACKGROUND, np.float32), (FRAME, FRAME, 3)).copy()
    for look, x, y in frame:
        pixels[y : y + SIDE, x : x + SIDE] = drawn(look)
    return pixels


def groups(look: Look) -> list[Frame]:
    """Every frame of one to four equal things: each in a quarter of the frame, all at the same place in theirs."""
    corners = [(x, y) for y in (0, FRAME // 2) for x in (0, FRAME // 2)]
    chosen = [part for count in range(1, 5) for part in itertools.combinations(corners, count)]
    return [
        tuple(Thing(look, x + right, y + down) for x, y in part)
        for part in chosen
        for right, down in itertools.product((0, STEP), repeat=2)
    ]


@cache
def every_frame() -> dict[Frame, int]:
    """Each frame that a clip may hold, and its number. There are few enough to encode them all once."""
    alone = [(Thing(look, x, y),) for look in LOOKS for y in PLACES for x in PLACES]
    together = [frame for look in LOOKS if look.name in SHAPES for frame in groups(look)]
    return {frame: number for number, frame in enumerate(dict.fromkeys([*alone, *together]))}
