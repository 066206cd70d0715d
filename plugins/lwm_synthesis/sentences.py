"""Sentences of a text, and those that stand out: what rule-based questions are made of. Owns no question."""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np


_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|\n\s*\n")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Sentence(NamedTuple):
    """A sentence of a text, from `start` to `stop`, without the space around it."""

    start: int
    stop: int


def sentences(text: str, *, fewest: int = 1, most: int = 10_000) -> list[Sentence]:
    """The sentences of `fewest` to `most` words, in order."""
    found, start = [], 0
    for stop in [*(match.end() for match in _END.finditer(text)), len(text)]:
        part = text[start:stop]
        first, last = start + len(part) - len(part.lstrip()), stop - (len(part) - len(part.rstrip()))
        if first < last and fewest <= len(WORD.findall(text, first, last)) <= most:
            found.append(Sentence(first, last))
        start = stop
    return found


def once(text: str, found: list[Sentence]) -> list[Sentence]:
    """Those whose words the text has once only, so that a question about one has one answer."""
    seen = Counter(squeezed(text[s.start : s.stop]) for s in found)
    return [s for s in found if seen[squeezed(text[s.start : s.stop])] == 1]


def squeezed(text: str) -> str:
    """The text with every run of space as one space, as a question quotes it."""
    return " ".join(text.split())


def picked(rng: np.random.Generator, items: list) -> list:
    """The items in a random order."""
    return [items[i] for i in rng.permutation(len(items))]
