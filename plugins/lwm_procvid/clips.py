"""What happens in a clip: its frames, its caption, and questions with their answers, all from one draw.

Owns the four kinds of clip and their wording. A frame is a second, so the frame number is the timestamp. Which captions
are kept from training is decided here too, by the caption alone.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lwm_procvid.world import COLOURS, DIGITS, LOOKS, PLACES, SHAPES, STEP, WHITE, Frame, Look, Thing, groups


MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "nowhere": (0, 0)}
NUMBERS = ("one", "two", "three", "four")
KINDS = {"move": 0.35, "change": 0.2, "cut": 0.25, "count": 0.2}
FEWEST, MOST = 2, len(PLACES)  # frames of a clip: something happens, and everything stays in the frame
HELD_OUT = 8  # one caption in so many is never trained on


class Question(NamedTuple):
    """`kind` names what is asked for; `choices` are all the answers that such a question can have."""

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...]


class Motion(NamedTuple):
    """Pixels a second, to the right and down."""

    x: int
    y: int


@dataclass(frozen=True)
class Clip:
    """- `frames`: what each second shows; - `caption`: what happens; - `questions`: all that fit this clip;
    - `motion`: of the one thing there is, where the caption says one; - `second`: of the cut or change, if any.
    """

    kind: str
    frames: tuple[Frame, ...]
    caption: str
    questions: tuple[Question, ...]
    motion: Motion | None = None
    second: int | None = None

    @property
    def looks(self) -> tuple[tuple[Look, ...], ...]:
        """What the caption says of each frame: the looks in it, sorted, wherever they stand."""
        return tuple(tuple(sorted(thing.look for thing in frame)) for frame in self.frames)

    @property
    def held_out(self) -> bool:
        """Whether its caption is kept from training: about one in eight is, and always the same ones."""
        return hashlib.sha256(self.caption.encode()).digest()[0] % HELD_OUT == 0


def draw_clip(rng: np.random.Generator, frames: int) -> Clip:
    """A clip of any kind and any caption."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    return _DRAWN[kind](rng, frames)


def _move(rng: np.random.Generator, frames: int) -> Clip:
    """A shape or a digit that moves one way, or stays."""
    look, (way, motion) = _look(rng), _way(rng)
    goes = "stays" if way == "nowhere" else f"moves {way}"
    asked = [_asked("way", way), *_what(look)]
    return Clip(
        "move", _path(rng, [look] * frames, motion), f"a {look.colour} {look.name} {goes}", tuple(asked), motion
    )


def _change(rng: np.random.Generator, frames: int) -> Clip:
    """A shape that moves and takes another colour at some second."""
    name, (way, motion) = str(rng.choice(SHAPES)), _way(rng)
    first, last = (Look(name, str(colour)) for colour in rng.choice(list(COLOURS), 2, replace=False))
    second = int(rng.integers(1, frames))
    goes = "stays" if way == "nowhere" else f"moves {way}"
    caption = f"a {first.colour} {name} {goes} and turns {last.colour} at second {second}"
    asked = [_asked("first", first.colour), _asked("last", last.colour), _asked("shape", name)]
    asked += [_asked("way", way), _second(second, frames)]
    looks = [first] * second + [last] * (frames - second)
    return Clip("change", _path(rng, looks, motion), caption, tuple(asked), motion, second)


def _cut(rng: np.random.Generator, frames: int) -> Clip:
    """One thing, then at some second another of another colour, elsewhere."""
    first, last = _look(rng), _look(rng)
    while first.colour == last.colour:
        last = _look(rng)
    second = int(rng.integers(1, frames))
    still = Motion(0, 0)
    shown = _path(rng, [first] * second, still) + _path(rng, [last] * (frames - second), still)
    caption = f"a {first.colour} {first.name} then a {last.colour} {last.name} at second {second}"
    asked = [_second(second, frames)]
    if WHITE not in (first.colour, last.colour):
        asked += [_asked("first", first.colour), _asked("last", last.colour)]
    digits = [look.name for look in (first, last) if look.name in DIGITS]
    shapes = [look.name for look in (first, last) if look.name in SHAPES]
    asked += [_asked("digit", name) for name in digits] if len(digits) == 1 else []
    asked += [_asked("shape", name) for name in shapes] if len(shapes) == 1 else []
    return Clip("cut", shown, caption, tuple(asked), second=second)


def _count(rng: np.random.Generator, frames: int) -> Clip:
    """One to four equal shapes that stay."""
    look = Look(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS))))
    count = int(rng.integers(1, 1 + len(NUMBERS)))
    fitting = [frame for frame in groups(look) if len(frame) == count]
    frame = fitting[rng.integers(len(fitting))]
    plural = look.name if count == 1 else f"{look.name}es" if look.name.endswith("ss") else f"{look.name}s"
    asked = [_asked("count", NUMBERS[count - 1]), _asked("shape", look.name), _asked("colour", look.colour)]
    return Clip("count", (frame,) * frames, f"{NUMBERS[count - 1]} {look.colour} {plural}", tuple(asked))


_DRAWN: dict[str, Callable[[np.random.Generator, int], Clip]] = {
    "move": _move, "change": _change, "cut": _cut, "count": _count,
}  # fmt: skip

_ASKED = {
    "way": ("where does it move?", tuple(MOVES)),
    "digit": ("which digit is shown?", DIGITS),
    "shape": ("which shape is shown?", SHAPES),
    "colour": ("which colour is shown?", tuple(COLOURS)),
    "first": ("which colour comes first?", tuple(COLOURS)),
    "last": ("which colour comes last?", tuple(COLOURS)),
    "count": ("how many are shown?", NUMBERS),
    "second": ("at which second does it change?", ()),
}
QUESTIONS = tuple(_ASKED)


def _asked(kind: str, answer: str) -> Question:
    text, choices = _ASKED[kind]
    return Question(kind, text, answer, choices)


def _second(answer: int, frames: int) -> Question:
    return Question("second", _ASKED["second"][0], str(answer), tuple(map(str, range(1, frames))))


def _what(look: Look) -> list[Question]:
    if look.name in DIGITS:
        return [_asked("digit", look.name)]
    return [_asked("shape", look.name), _asked("colour", look.colour)]


def _look(rng: np.random.Generator) -> Look:
    """Shapes twice as often as digits."""
    names = SHAPES if rng.random() < 2 / 3 else DIGITS
    chosen = [look for look in LOOKS if look.name in names]
    return chosen[rng.integers(len(chosen))]


def _way(rng: np.random.Generator) -> tuple[str, Motion]:
    way = list(MOVES)[rng.integers(len(MOVES))]
    return way, Motion(*(STEP * pixels for pixels in MOVES[way]))


def _path(rng: np.random.Generator, looks: list[Look], motion: Motion) -> tuple[Frame, ...]:
    """The looks, a second each, along a straight way that stays in the frame."""
    starts = []
    for pixels in motion:
        reach = pixels * (len(looks) - 1)
        fitting = [place for place in PLACES if PLACES[0] <= place + reach <= PLACES[-1]]
        starts.append(fitting[rng.integers(len(fitting))])
    x, y = starts
    return tuple((Thing(look, x + t * motion.x, y + t * motion.y),) for t, look in enumerate(looks))
