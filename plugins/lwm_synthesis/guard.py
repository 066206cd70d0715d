"""Keeps what evaluations measure with out of what is made to train on.

Owns the comparison: withheld words in questions and answers, and runs of words that a held-out document has too.
Source: 13 words in a row as the unit of overlap, Brown et al. 2020, appendix C.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from lwm_core.data import DataSource, Document
from lwm_core.evaluate import Evaluator, Withheld, Withholding
from lwm_synthesis.base import Exercise
from lwm_synthesis.sentences import WORD


@dataclass(frozen=True)
class Guard:
    """What must not be learnt.

    - `evaluators`: their withheld words and documents, for evaluators that can name them (`needle`, `perplexity`);
    - `words`: further names, numbers or phrases; `documents`: further held-out documents;
    - `run`: so many words in a row that a held-out document has too are a copy of it;
    - `overlap`: "drop" an exercise that overlaps, and count it, or "fail".
    """

    evaluators: Mapping[str, Evaluator] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    documents: Mapping[str, DataSource] = field(default_factory=dict)
    run: int = 13
    overlap: Literal["drop", "fail"] = "drop"

    def __post_init__(self):
        if self.run < 2:
            raise ValueError(f"run={self.run}: give at least 2 words.")
        if self.overlap not in ("drop", "fail"):
            raise ValueError(f"overlap={self.overlap!r}: give drop or fail.")
        for name, evaluator in self.evaluators.items():
            if not isinstance(evaluator, Withholding):
                raise ValueError(
                    f"Evaluator {name!r} ({type(evaluator).__name__}) does not say what it withholds: give its words "
                    "under `words` and its documents under `documents`."
                )

    def overlaps(self, exercise: Exercise) -> str:
        """Which withheld thing the exercise holds, as a sentence; "" when it holds none."""
        said = " ".join([*(word for pair in exercise.pairs for word in pair), exercise.made])
        for words in _runs_of_lengths(_words(said), self._lengths):
            if words in self._forbidden:
                return f"a question or answer says {words!r}, which {self._forbidden[words]} withholds"
        if self._copies:
            for run in _hashed(_words(f"{exercise.text} {said}"), self.run):
                if run in self._copies:
                    return f"{self.run} words in a row are also in a document that {self._copies[run]} withholds"
        return ""

    @cached_property
    def _withheld(self) -> dict[str, Withheld]:
        found = {f"evaluator {name}": e.withheld() for name, e in self.evaluators.items() if isinstance(e, Withholding)}
        found |= {f"source {name}": Withheld(documents=source) for name, source in self.documents.items()}
        return {**found, "the guard": Withheld(self.words)}

    @cached_property
    def _forbidden(self) -> dict[str, str]:
        """Words as they are compared → who withholds them."""
        told = [(" ".join(_words(word)), who) for who, withheld in self._withheld.items() for word in withheld.words]
        return {words: who for words, who in told if words}

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({words.count(" ") + 1 for words in self._forbidden}))

    @cached_property
    def _copies(self) -> dict[int, str]:
        """Runs of words of held-out documents, as hashes → who withholds them."""
        found: dict[int, str] = {}
        for who, withheld in self._withheld.items():
            for index in range(0 if withheld.documents is None else len(withheld.documents)):
                assert withheld.documents is not None
                words = _words(_text(withheld.documents[index]))
                found.update(dict.fromkeys(_hashed(words, self.run), who))
        return found


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def _runs_of_lengths(words: list[str], lengths: tuple[int, ...]) -> Iterator[str]:
    for length in lengths:
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _hashed(words: list[str], run: int) -> Iterator[int]:
    """A number for every run of words: rolling, 61 bits, the same in every process."""
    prime, base = (1 << 61) - 1, 1_000_003
    top, rolled = pow(base, run, prime), 0
    numbers = [zlib.crc32(word.encode()) + 1 for word in words]
    for index, number in enumerate(numbers):
        rolled = (rolled * base + number) % prime
        if index >= run:
            rolled = (rolled - numbers[index - run] * top) % prime
        if index >= run - 1:
            yield rolled


def _text(document: Document) -> str:
    return "".join(span.content for span in document.spans if isinstance(span.content, str))
