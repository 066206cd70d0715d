"""Documents to learn retrieval from: a passage of a book, numbers hidden in it, questions and answers.

Owns the rule by which document i is made; it stores none. Loss lies on the answers, and a little on the passage,
so that a model does not forget how to read. Every document is made from (seed, index) alone.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lwm_core.data import Document, Span
from lwm_core.text import TextTokenizer
from lwm_needle.cities import TRAINING
from lwm_needle.haystack import Book, hide
from lwm_needle.lengths import Lengths, generator
from lwm_needle.wording import NEEDLE, QUESTION, Fact, Wording


MADE_UP = 4  # ids in a made-up city at most


@dataclass(frozen=True)
class NeedleDocuments:
    """`documents` documents; each has 1 to `most_needles` facts hidden in it and asks for some of them.

    - `path`, `start`, `stop`: the part of the book that haystacks come from; `tokenizer`: the model's own;
    - `shortest`, `longest`: lengths in tokens, drawn evenly; `full`: share of documents of exactly `longest`;
      `markers`: how many ids the renderer adds to a document (by default its end), which count in its length;
    - `digits`: of a number; `cities`: names to draw from; `made_up`: share of facts about a made-up name;
    - `several`: share of documents with more than one fact, where they fit; `most_needles`: then at most;
    - `edges`: share of facts put at the very beginning, and as many at the very end;
    - `slack`: how many tokens a needle moves back at most to stand between two sentences;
    - `answer_loss`, `context_loss`, `needle_loss`: how much each token of the answers, of the book's text (and of
      what closes an answer), and of the hidden sentences counts. Questions never count.
    """

    tokenizer: TextTokenizer
    path: Path | str
    start: float = 0.0
    stop: float = 0.9
    documents: int = 100_000
    shortest: int = 64
    longest: int = 256
    full: float = 0.0
    markers: int = 1
    digits: int = 5
    cities: tuple[str, ...] = TRAINING
    made_up: float = 0.5
    several: float = 0.6
    most_needles: int = 4
    edges: float = 0.08
    slack: int = 24
    answer_loss: float = 10.0
    context_loss: float = 0.3
    needle_loss: float = 0.0
    needle: str = NEEDLE
    question: str = QUESTION
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "cities", tuple(self.cities))
        self._lengths.check(self._most, "one fact, hidden and asked")
        for name in ("documents", "digits", "most_needles"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        if len(self.cities) < self.most_needles:
            raise ValueError(f"{len(self.cities)} cities for {self.most_needles} needles: give one for each.")

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        rng = generator(self.documents, self.seed, index)
        length = self._lengths.draw(rng)
        facts = self._facts(rng, min(self._count(rng), length // self._most))
        asked = [self._wording.asked(facts[i]) for i in self._chosen(rng, len(facts))]
        needles = [self._wording.hidden(fact) for fact in facts]
        taken = sum(map(len, needles)) + sum(len(part) for question in asked for part in question)
        passage = self._book.passage(rng, length - taken)
        pieces = hide(passage, needles, [self._depth(rng) for _ in facts], self.slack)
        spans = [Span("text", p.ids, self.context_loss if p.needle is None else self.needle_loss) for p in pieces]
        for prompt, answer, close in asked:
            spans += [Span("text", prompt, 0.0), Span("text", answer, self.answer_loss)]
            spans += [Span("text", close, self.context_loss)] if len(close) else []
        meta = {"facts": tuple(facts), "pieces": tuple(p.needle for p in pieces), "asked": len(asked)}
        return Document(tuple(spans), f"needle:{self.seed}:{index}", meta)

    @property
    def _lengths(self) -> Lengths:
        return Lengths(self.shortest, self.longest, self.full, self.markers)

    @cached_property
    def _book(self) -> Book:
        return Book(self.path, self.tokenizer, self.start, self.stop)

    @cached_property
    def _wording(self) -> Wording:
        return Wording(self.tokenizer, self.needle, self.question)

    @cached_property
    def _known(self) -> list[tuple[int, ...]]:
        return [self._wording.city(name) for name in self.cities]

    @cached_property
    def _most(self) -> int:
        """The most ids that one fact takes."""
        return self._wording.longest(max(MADE_UP, *map(len, self._known)), self.digits)

    @cached_property
    def _syllables(self) -> tuple[list[int], list[int]]:
        """Ids that begin a word and ids that go on with one; a tokenizer of bytes begins with the space."""
        texts = {i: self.tokenizer.decode([i]) for i in range(self.tokenizer.size)}
        begin = [i for i, text in texts.items() if re.fullmatch(r" [A-Za-z]+", text)]
        inner = [i for i, text in texts.items() if re.fullmatch(r"[a-z]{1,4}", text)]
        return begin or self.tokenizer.encode(" ")[:1], inner

    def _count(self, rng) -> int:
        if self.most_needles == 1 or rng.random() >= self.several:
            return 1
        return int(rng.integers(2, self.most_needles + 1))

    def _facts(self, rng, count: int) -> list[Fact]:
        cities: list[tuple[int, ...]] = []
        while len(cities) < count:
            city = self._city(rng)
            if city not in cities:
                cities.append(city)
        return [Fact(city, "".join(map(str, rng.integers(10, size=self.digits)))) for city in cities]

    def _city(self, rng) -> tuple[int, ...]:
        if rng.random() >= self.made_up:
            return self._known[rng.integers(len(self._known))]
        begin, inner = self._syllables
        rest = rng.integers(len(inner), size=rng.integers(MADE_UP))
        return (begin[rng.integers(len(begin))], *(inner[i] for i in rest))

    def _chosen(self, rng, count: int) -> np.ndarray:
        return rng.permutation(count)[: rng.integers(1, count + 1)]

    def _depth(self, rng) -> float:
        depth, edge = rng.random(2)
        return 0.0 if edge < self.edges else 1.0 if edge > 1 - self.edges else depth
