"""A quota of long documents around any packer, so that long rows are not filled with confetti.

Owns which samples are let in, and when. How rows are filled is the inner packer's. ProLong (arXiv 2410.02660) trains on
a fixed share of long documents, and LWM's text stages on documents of the stage's length alone (arXiv 2402.08268).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from lwm_core.data.base import Packer, Row, Sample
from lwm_core.data.pieces import append, blocks_of, ids_of, piece_of, waiting, weights_of
from lwm_core.data.rows import nothing_skipped, skipping, takes


@dataclass(frozen=True)
class QuotaPacker:
    """Of the tokens let in so far, at least `share` are always those of long samples.

    - `length`: tokens in a row;
    - `inner`: the packer that fills the rows, here for rows of `length`, whatever its own length was;
    - `share`: between 0 and 1;
    - `at_least`: tokens of a long sample, counted before any cut; 0 for half a row or more;
    - `wait`: rows' worth of short samples that may wait for long ones, first come, first served;
    - `surplus`: what happens to a short sample when as many wait: an "error" that says what to change, or "skip", which
      leaves it out and counts it in the state.

    Rows keep the share but for what the inner packer holds back. `flush` lets in all that waits.
    """

    length: int
    inner: Packer
    share: float = 0.5
    at_least: int = 0
    wait: int = 64
    surplus: Literal["error", "skip"] = "error"

    def __post_init__(self):
        if not 0 <= self.share <= 1 or self.at_least < 0 or self.wait < 0:
            raise ValueError(
                f"share={self.share}, at_least={self.at_least}, wait={self.wait}: give a share between 0 and 1, and "
                "numbers of tokens and of rows from 0 on."
            )
        if self.surplus not in ("error", "skip"):
            raise ValueError(f"surplus={self.surplus!r}: give error or skip.")
        self._packer  # noqa: B018  (a length that the inner packer refuses is an error now)

    def init(self) -> dict[str, Any]:
        counts = {"long": 0, "short": 0, "held": 0}
        return {**counts, "blocks": [], "skipped": nothing_skipped(), "inner": self._packer.init()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        size = len(sample.tokens)
        if size >= (self.at_least or self.length / 2):
            inner, rows = self._packer.push(state["inner"], sample)
            return self._let_in({**state, "long": state["long"] + size, "inner": inner}, rows)
        if not state["held"] and self._may(state, size):
            inner, rows = self._packer.push(state["inner"], sample)
            return {**state, "short": state["short"] + size, "inner": inner}, rows
        if state["held"] + size > self.wait * self.length:
            return self._too_many(state, sample), []
        if not takes(sample, self.length, "skip"):
            self._packer.push(self._packer.init(), sample)  # when it refuses one that is longer, it does so now
        piece = {**piece_of(sample.tokens, sample.loss, sample.name), "name": sample.name, "source": sample.source}
        return {**state, "held": state["held"] + size, "blocks": append(state["blocks"], piece)}, []

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Packs and returns all that is left; the state is then as `init` gives it, but for what was skipped."""
        inner, rows = state["inner"], []
        for piece in waiting(state["blocks"]):
            inner, more = self._packer.push(inner, _sample(piece))
            rows += more
        inner, more = self._packer.flush(inner)
        return {**self.init(), "skipped": state["skipped"], "inner": inner}, rows + more

    @cached_property
    def _packer(self) -> Packer:
        return replace(cast(Any, self.inner), length=self.length)

    def _may(self, state: dict[str, Any], size: int) -> bool:
        """Whether the share still holds with so many more tokens of short samples."""
        return state["long"] >= self.share * (state["long"] + state["short"] + size)

    def _let_in(self, state: dict[str, Any], rows: list[Row]) -> tuple[dict[str, Any], list[Row]]:
        """The state after as many of the samples that wait as the share allows, and all rows."""
        if not state["held"]:
            return state, rows
        pieces, count, short, inner = waiting(state["blocks"]), 0, state["short"], state["inner"]
        while count < len(pieces) and self._may({**state, "short": short}, pieces[count]["length"]):
            inner, more = self._packer.push(inner, _sample(pieces[count]))
            short, rows, count = short + pieces[count]["length"], rows + more, count + 1
        held = state["held"] - (short - state["short"])
        return {**state, "short": short, "held": held, "blocks": blocks_of(pieces[count:]), "inner": inner}, rows

    def _too_many(self, state: dict[str, Any], sample: Sample) -> dict[str, Any]:
        if self.surplus == "skip":
            return skipping(state, sample)
        raise ValueError(
            f"Sample {sample.name or '(unnamed)'}: {state['held']} tokens of short samples wait for long ones, and all "
            f"samples of {self.at_least or self.length / 2:g} tokens or more had {state['long']}: draw more long ones, "
            f"lower share={self.share} or at_least, raise wait={self.wait}, or set surplus='skip'."
        )


def _sample(piece: dict[str, Any]) -> Sample:
    loss = weights_of(piece)
    weights = loss if isinstance(loss, np.ndarray) else np.full(piece["length"], loss, np.float32)
    return Sample(ids_of([piece]), weights, piece["name"], piece["source"])
