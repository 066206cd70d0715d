"""Best-fit decreasing over a buffer of samples: rows nearly full, and only samples longer than a row are cut.

Owns what waits and which rows leave; which pieces share a row is `fitting`'s.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lwm_core.data.base import Row, Sample
from lwm_core.data.fitting import best_fit
from lwm_core.data.pieces import Piece, append, blocks_of, pieces_of, waiting
from lwm_core.data.rows import check_options, nothing_skipped, row_of, skipping, takes
from lwm_core.data.weighting import Weighting


FULL = 255 / 256  # a row filled so far, or more than half of them, need not wait for more
_STRIDE = (5**0.5 - 1) / 2  # golden ratio: its multiples are spread evenly over a row


@dataclass(frozen=True)
class BestFitPacker:
    """Packs a buffer at a time; the newer half of its rows, and those with much room, stay for another try.

    - `length`: tokens in a row;
    - `buffer`: rows' worth of tokens that are held while looking for a fit. More gives fuller rows, a longer wait and
      a larger checkpoint (about 6 bytes a token): 64 rows need about 0.3% more rows than there is text, 8 rows 3%;
    - `cut`: "long" cuts a sample longer than a row, "error" refuses it, "skip" leaves it out and counts it in the
      state;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.

    Rows leave in turn. A row's turn is when one of its tokens came, picked evenly over the row: by its oldest, rows of
    many short samples would come first, and by fullness the stretches of long ones; a short run would see too much of
    one or the other. The end of a cut sample leaves after its beginning. No sample waits for ever: the row with the
    oldest one always leaves.
    """

    length: int
    buffer: int = 64
    cut: Literal["long", "error", "skip"] = "long"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("long", "error", "skip"), self.weighting)
        if self.buffer < 1:
            raise ValueError(f"buffer={self.buffer}: hold at least 1 row.")

    def init(self) -> dict[str, Any]:
        return {"held": 0, "blocks": [], "skipped": nothing_skipped()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        if not takes(sample, self.length, self.cut):
            return skipping(state, sample), []
        held, blocks = state["held"] + len(sample.tokens), state["blocks"]
        for piece in pieces_of(sample, self.length, self.length):
            blocks = append(blocks, piece)
        rows: list[Row] = []
        while held >= self.buffer * self.length:
            stay, leaving = self._leave(waiting(blocks))
            held, blocks = sum(piece["length"] for piece in stay), blocks_of(stay)
            rows += leaving
        return {"held": held, "blocks": blocks, "skipped": state["skipped"]}, rows

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Packs and returns all that is left; the state is then as `init` gives it, but for what was skipped."""
        pieces = waiting(state["blocks"])
        empty = {**self.init(), "skipped": state["skipped"]}
        if not pieces:
            return empty, []
        fit, _, turns = self._fit(pieces)
        return empty, self._rows(pieces, fit, np.argsort(turns))

    def _leave(self, pieces: list[Piece]) -> tuple[list[Piece], list[Row]]:
        """(what stays, the rows that leave)."""
        fit, fills, turns = self._fit(pieces)
        ready = np.flatnonzero(fills >= min(FULL * self.length, np.median(fills)))
        leaving = ready[np.argsort(turns[ready])][: max(1, len(fit) // 2)]
        if 0 not in leaving:  # it holds the oldest piece; what it continues leaves before it
            alone = np.array([len(row) == 1 for row in fit])
            due = np.flatnonzero(alone & (fills == self.length) & (turns < turns[0]))
            leaving = np.unique(np.concatenate([leaving, due, [0]]))
            leaving = leaving[np.argsort(turns[leaving])]
        gone = {piece for row in leaving for piece in fit[row]}
        return [piece for i, piece in enumerate(pieces) if i not in gone], self._rows(pieces, fit, leaving)

    def _fit(self, pieces: list[Piece]) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
        """The rows by their oldest piece, as indices of pieces; how full each is; the turn of each."""
        sizes = np.array([piece["length"] for piece in pieces])
        fit = best_fit(sizes, self.length)
        members = np.concatenate([np.asarray(row) for row in fit])
        ends = np.cumsum(sizes[members])
        stops = np.cumsum([len(row) for row in fit])
        filled = ends[stops - 1]
        fills = np.diff(filled, prepend=0)
        picked = filled - fills + (np.arange(1, len(fit) + 1) * _STRIDE % 1.0 * fills).astype(np.int64)
        turns = members[np.searchsorted(ends, picked, side="right")]
        rests = np.flatnonzero(["rest" in pieces[piece] for piece in members.tolist()])
        np.maximum.at(turns, np.searchsorted(stops, rests, side="right"), members[rests])
        return fit, fills, turns

    def _rows(self, pieces: list[Piece], fit: list[list[int]], which: np.ndarray) -> list[Row]:
        return [row_of([pieces[i] for i in fit[row]], self.length, self.weighting) for row in which.tolist()]
