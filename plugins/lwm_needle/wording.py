"""The sentences of the test as ids of one tokenizer: the hidden one, the question and its answer.

Owns the templates and where in the ids the number stands. Cities may be ids of no word at all, so that a model
learns to match rather than to know. Source of the wording: LWM `scripts/eval_needle.py`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lwm_core.text import TextTokenizer


NEEDLE = " The special magic {city} number is: {number}."
QUESTION = " What is the special magic {city} number? The special magic {city} number is: {number}."
FIELD = re.compile(r"( \{city\}| \{number\})")
PROBES = (("Paris", "12345"), ("Casablanca", "7070707"))


class Fact(NamedTuple):
    """A city, as ids with the space before it, and its number, as decimal digits."""

    city: tuple[int, ...]
    number: str


class Asked(NamedTuple):
    """A question, ending right before its number; the number; what closes the sentence."""

    prompt: np.ndarray
    answer: np.ndarray
    close: np.ndarray


@dataclass(frozen=True)
class Wording:
    """Templates over a tokenizer; both hold " {city}" and, once, " {number}".

    Raises `ValueError` for a tokenizer that joins a field with what surrounds it: the ids made here would then
    not be those of the sentence.
    """

    tokenizer: TextTokenizer
    needle: str = NEEDLE
    question: str = QUESTION

    def __post_init__(self):
        for name in ("needle", "question"):
            template = getattr(self, name)
            if " {city}" not in template or template.count(" {number}") != 1:
                raise ValueError(f"{name}={template!r}: give a text with ' {{city}}' and, once, ' {{number}}'.")
            for city, number in PROBES:
                whole = self.tokenizer.encode(template.format(city=city, number=number))
                if whole != np.concatenate(self._filled(template, Fact(self.city(city), number))).tolist():
                    raise ValueError(
                        f"{name}={template!r}: this tokenizer joins {city!r} or {number!r} with its neighbours; "
                        "put a space or a punctuation mark around the fields."
                    )

    def city(self, name: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(f" {name}"))

    def hidden(self, fact: Fact) -> np.ndarray:
        """Ids of the sentence to hide."""
        return np.concatenate(self._filled(self.needle, fact))

    def asked(self, fact: Fact) -> Asked:
        """Ids of the question about a fact, and of its answer."""
        return Asked(*self._filled(self.question, fact))

    def longest(self, city: int, digits: int) -> int:
        """The most ids that one fact takes, hidden and asked, with a city of `city` ids."""
        fact = Fact((0,) * city, "0" * digits)
        spare = digits + 1 - len(self.tokenizer.encode(" " + fact.number))  # other numbers may merge less
        return len(self.hidden(fact)) + sum(map(len, self.asked(fact))) + 2 * spare

    @cached_property
    def _literals(self) -> dict[str, list[int]]:
        parts = [part for template in (self.needle, self.question) for part in FIELD.split(template)]
        return {part: self.tokenizer.encode(part) for part in parts}

    def _filled(self, template: str, fact: Fact) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids before the number, of the number, and after it."""
        before, number, after = [], [], []
        ids = before
        for part in FIELD.split(template):
            if part == " {number}":
                space, number = self._number(fact.number)
                before += space
                ids = after
            else:
                ids += fact.city if part == " {city}" else self._literals[part]
        return np.asarray(before, np.int32), np.asarray(number, np.int32), np.asarray(after, np.int32)

    def _number(self, digits: str) -> tuple[list[int], list[int]]:
        """Ids of the space before a number, where it has its own, and of the number."""
        ids = self.tokenizer.encode(f" {digits}")
        own = len(ids) > 1 and not self.tokenizer.decode(ids[:1]).strip()
        return ids[: int(own)], ids[int(own) :]
