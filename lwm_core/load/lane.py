"""Rows of the sources that share them: samples drawn by the mixture, cut to turns, packed.

Owns the order in which samples reach one packer, and its exact state. Reading is `reader`'s; which lane's row comes
next, and which rows make a step, `Stream` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lwm_core.data import Packer, Row, Sample
from lwm_core.data.mixture import Mixture
from lwm_core.load.reader import Reader


@dataclass(frozen=True)
class Rules:
    """What a lane does.

    - `by`: what the mixture divides, "tokens" or "documents";
    - `turn`: tokens that a longer sample gives at a time, before the other sources have their turn; None for all.
    """

    mixture: Mixture
    packer: Packer
    by: str
    turn: int | None

    @property
    def names(self) -> list[str]:
        return list(self.mixture.weights)

    def init(self) -> dict[str, Any]:
        """The state of a lane that has drawn nothing, as JSON data.

        For each source: documents `drawn`, tokens of the next one that are already packed (`part`), what it was
        `served` (tokens, or documents), and documents `skipped`. Then rows of the last push that are `emitted` while
        others are still to come; the push is made again from this state: cheaper than keeping them.
        """
        sources = {name: {"drawn": 0, "part": 0, "served": 0, "skipped": 0} for name in self.names}
        return {"sources": sources, "emitted": 0, "packer": self.packer.init()}


class Lane:
    """An endless iterator of rows from a state on; `state()` is the one after the last row."""

    def __init__(self, rules: Rules, readers: Mapping[str, Reader], state: Mapping[str, Any]):
        self._rules = rules
        self._names = rules.names
        self._readers = [readers[name] for name in self._names]
        self._sources = [dict(state["sources"][name]) for name in self._names]
        self._served = [source["served"] for source in self._sources]
        self._packer, self._emitted = state["packer"], state["emitted"]
        self._rows: list[Row] = []
        self._then: tuple[Any, int, int, bool] = (None, 0, 0, False)
        self._fruitless = [0] * len(self._names)

    def __iter__(self) -> "Lane":
        return self

    def __next__(self) -> Row:
        while not self._rows:
            self._push()
        row = self._rows[self._emitted]
        self._emitted += 1
        if self._emitted == len(self._rows):
            self._settle()
        return row

    def state(self) -> dict[str, Any]:
        """Where the lane stands, as JSON data."""
        sources = {name: dict(source) for name, source in zip(self._names, self._sources, strict=True)}
        return {"sources": sources, "emitted": self._emitted, "packer": self._packer}

    @property
    def served(self) -> int:
        """What all its sources were served."""
        return sum(self._served)

    def _push(self) -> None:
        at = self._rules.mixture.furthest_behind(self._served)
        sample = self._sample(at)
        start = self._sources[at]["part"]
        part = self._part(sample, start)
        after, self._rows = self._rules.packer.push(self._packer, part)
        self._then = (after, at, len(part), start + len(part) == len(sample))
        if not self._rows:
            self._settle()

    def _settle(self) -> None:
        """Takes the last push as done."""
        self._packer, at, tokens, whole = self._then
        self._rows, self._emitted = [], 0
        source = self._sources[at]
        source["part"] = 0 if whole else source["part"] + tokens
        source["served"] += tokens if self._rules.by == "tokens" else 1
        self._served[at] = source["served"]
        if whole:
            self._next(at)

    def _sample(self, at: int) -> Sample:
        """The next sample of a source, past those that are left out."""
        while (sample := self._readers[at].current()) is None:
            self._sources[at]["skipped"] += 1
            self._fruitless[at] += 1
            if self._fruitless[at] >= self._readers[at].epoch:
                raise ValueError(
                    f"Source {self._names[at]!r}: none of {self._fruitless[at]} documents in a row, a whole epoch, "
                    "has a token: give it text, or take it out of the mixture."
                )
            self._next(at)
        self._fruitless[at] = 0
        return sample

    def _next(self, at: int) -> None:
        self._sources[at]["drawn"] += 1
        self._readers[at].advance()

    def _part(self, sample: Sample, start: int) -> Sample:
        turn = self._rules.turn
        if turn is None or (start == 0 and len(sample) <= turn):
            return sample
        stop = start + turn
        return Sample(sample.tokens[start:stop], sample.loss[start:stop], sample.name, sample.source)
