"""Haystacks: passages of a book of an exact length in the model's tokens, with sentences hidden in them.

Owns the tokens of a part of a book, where its sentences end, and how a needle is placed. LWM's scripts trimmed
in one tokenizer's tokens and placed in another's; here there is one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lwm_core.data import TextFiles
from lwm_core.text import TextTokenizer


SENTENCE_END = re.compile(r"[.!?][\"'”’]?\s*$")


class Passage(NamedTuple):
    """Ids, and the places in them, 0 and the last included, where a sentence may be put."""

    tokens: np.ndarray
    breaks: np.ndarray


class Piece(NamedTuple):
    """A run of ids of a haystack; `needle` is which needle it is, or None for the book's own text."""

    ids: np.ndarray
    needle: int | None


@dataclass(frozen=True)
class Book:
    """The part of a text file from `start` to `stop` (fractions, as in `TextFiles`), tokenised once."""

    path: Path | str
    tokenizer: TextTokenizer
    start: float = 0.0
    stop: float = 1.0

    @cached_property
    def tokens(self) -> np.ndarray:
        part = TextFiles((self.path,), split="files", start=self.start, stop=self.stop)
        text = part[0].spans[0].content
        assert isinstance(text, str)
        return np.asarray(self.tokenizer.encode(text), np.int32)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Places between tokens, from 1, where a sentence has just ended."""
        used, where = np.unique(self.tokens, return_inverse=True)
        closing = [bool(SENTENCE_END.search(self.tokenizer.decode([int(i)]))) for i in used]
        return np.flatnonzero(np.asarray(closing)[where]) + 1

    def passage(self, rng: np.random.Generator, length: int) -> Passage:
        """A random passage of exactly `length` tokens."""
        if length > len(self.tokens):
            raise ValueError(
                f"A passage of {length} tokens from {self.path} ({self.start} to {self.stop}), which has "
                f"{len(self.tokens)}: use a shorter context, a larger part or a longer book."
            )
        start = int(rng.integers(len(self.tokens) - length + 1))
        first, last = np.searchsorted(self._ends, (start + 1, start + length))
        breaks = np.concatenate([[0], self._ends[first:last] - start, [length]])
        return Passage(self.tokens[start : start + length], breaks)

    def words(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Tokens drawn one by one, as often as each occurs."""
        return self.tokens[rng.integers(len(self.tokens), size=count)]


def place(passage: Passage, at: int, slack: int) -> int:
    """The last sentence end at or before `at`; `at` itself where there is none within `slack` tokens."""
    found = int(passage.breaks[np.searchsorted(passage.breaks, at, side="right") - 1])
    return found if at - found <= slack else at


def hide(passage: Passage, needles: Sequence[np.ndarray], depths: Sequence[float], slack: int) -> list[Piece]:
    """The passage's pieces with each needle at its depth (0 first, 1 last), in reading order."""
    length = len(passage.tokens)
    cuts = [place(passage, round(depth * length), slack) for depth in depths]
    pieces, last = [], 0
    for which in np.argsort(cuts, kind="stable"):
        pieces += [Piece(passage.tokens[last : cuts[which]], None), Piece(needles[which], int(which))]
        last = cuts[which]
    pieces.append(Piece(passage.tokens[last:], None))
    return [piece for piece in pieces if len(piece.ids)]
