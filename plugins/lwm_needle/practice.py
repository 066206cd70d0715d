"""Two plain companions of needle documents: a few tokens over and over, and passages of the book as they are.

Copying is what looking back is learned from; passages keep the language. Both are made from (seed, index) alone.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lwm_core.data import Document, Span
from lwm_core.text import TextTokenizer
from lwm_needle.haystack import Book
from lwm_needle.lengths import Lengths, generator


@dataclass(frozen=True)
class CopyDocuments:
    """A run of `shortest_run` to `longest_run` tokens of the book, drawn one by one, repeated to the end.

    Only repeats count, from their second token on: the first cannot be foreseen. Other options are as in
    `NeedleDocuments`.
    """

    tokenizer: TextTokenizer
    path: Path | str
    start: float = 0.0
    stop: float = 0.9
    documents: int = 100_000
    shortest: int = 48
    longest: int = 256
    full: float = 0.0
    markers: int = 1
    shortest_run: int = 6
    longest_run: int = 32
    loss: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.shortest_run <= self.longest_run:
            raise ValueError(
                f"shortest_run={self.shortest_run}, longest_run={self.longest_run}: "
                "give 1 <= shortest_run <= longest_run."
            )
        self._lengths.check(2 * self.shortest_run, "a run and its repeat")

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        rng = generator(self.documents, self.seed, index)
        length = self._lengths.draw(rng)
        run = int(rng.integers(self.shortest_run, min(self.longest_run, length // 2) + 1))
        ids = np.resize(self._book.words(rng, run), length)
        spans = (Span("text", ids[: run + 1], 0.0), Span("text", ids[run + 1 :], self.loss))
        return Document(spans, f"copy:{self.seed}:{index}", {"run": run})

    @property
    def _lengths(self) -> Lengths:
        return Lengths(self.shortest, self.longest, self.full, self.markers)

    @cached_property
    def _book(self) -> Book:
        return Book(self.path, self.tokenizer, self.start, self.stop)


@dataclass(frozen=True)
class Passages:
    """Passages of the book, every token of which counts `loss`. Options are as in `NeedleDocuments`."""

    tokenizer: TextTokenizer
    path: Path | str
    start: float = 0.0
    stop: float = 0.9
    documents: int = 100_000
    shortest: int = 48
    longest: int = 256
    full: float = 0.0
    markers: int = 1
    loss: float = 1.0
    seed: int = 0

    def __post_init__(self):
        self._lengths.check(2, "a token to predict")

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        rng = generator(self.documents, self.seed, index)
        passage = self._book.passage(rng, self._lengths.draw(rng))
        return Document((Span("text", passage.tokens, self.loss),), f"passage:{self.seed}:{index}")

    @property
    def _lengths(self) -> Lengths:
        return Lengths(self.shortest, self.longest, self.full, self.markers)

    @cached_property
    def _book(self) -> Book:
        return Book(self.path, self.tokenizer, self.start, self.stop)
