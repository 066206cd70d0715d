"""Best-fit decreasing over a buffer of samples: rows nearly full, and only samples longer than a row are cut.

Owns what waits and which rows leave; which pieces share a row is `fitting`'s.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lwm_core.data.base import Row, Sample
from lwm_core.data.fitting import Fit, best_fit
from lwm_core.data.pieces import Blocks, Piece, append, blocks_of, pieces_of, waiting
from lwm_core.data.rows import check_held, check_options, nothing_skipped, row_of, skipping, takes
from lwm_core.data.weighting import Weighting


FULL = 255 / 256  # a row filled so far, or more than half of them, need not wait for more
_STRIDE = (5**0.5 - 1) / 2  # golden ratio: its multiples are spread evenly over a row


@dataclass(frozen=True)
class BestFitPacker:
    """Packs a buffer at a time; what shares a row with much room stays for another try.

    - `length`: tokens in a row;
    - `buffer`: rows' worth of tokens that are held while looking for a fit. More gives fuller rows, a longer wait and
      a larger checkpoint (6 bytes a token; 400 MB for 64 rows of a million). On real documents, 64 need up to 0.5% more
      rows than there is text, 8 up to 5%;
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
        return {"held": 0, "due": [], "blocks": [], "skipped": nothing_skipped()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete: those that the buffer has no room for any more."""
        if not takes(sample, self.length, self.cut):
            return skipping(state, sample), []
        held, due, blocks = state["held"] + len(sample.tokens), state["due"], state["blocks"]
        for piece in pieces_of(sample, self.length, self.length):
            blocks = append(blocks, piece)
        gone, rows = 0, []
        while held >= self.buffer * self.length:
            if gone == len(due):
                gone, (due, blocks) = 0, self._plan(waiting(blocks))
            rows.append(self._row(due[gone]))
            held -= sum([piece["length"] for piece in due[gone]])
            gone += 1
        return {"held": held, "due": due[gone:] if gone else due, "blocks": blocks, "skipped": state["skipped"]}, rows

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Packs and returns all that is left; the state is then as `init` gives it, but for what was skipped."""
        due, pieces = state["due"], waiting(state["blocks"])
        if pieces:
            fit, _, turns = self._fit(pieces)
            due = due + [[pieces[index] for index in fit.row(row)] for row in turns.argsort().tolist()]
        return {**self.init(), "skipped": state["skipped"]}, [self._row(row) for row in due]

    def _plan(self, pieces: list[Piece]) -> tuple[list[list[Piece]], Blocks]:
        """(the pieces of the rows that leave next, what waits for the plan after)."""
        fit, fills, turns = self._fit(pieces)
        half = len(fills) // 2
        ready = fills >= min(FULL * self.length, np.partition(fills, half)[half])
        ready[0] = True  # it holds the oldest piece
        leaving = np.flatnonzero(ready)
        rows = [fit.row(row) for row in leaving[turns[leaving].argsort()].tolist()]
        gone = {piece for row in rows for piece in row}
        rest = [piece for index, piece in enumerate(pieces) if index not in gone]
        return [[pieces[index] for index in row] for row in rows], blocks_of(rest)

    def _fit(self, pieces: list[Piece]) -> tuple[Fit, np.ndarray, np.ndarray]:
        """The rows by their oldest piece; how full each is; the turn of each."""
        sizes = np.array([piece["length"] for piece in pieces])
        check_held(int(sizes.max()), self.length)
        fit = best_fit(sizes, self.length)
        ends = sizes[fit.pieces].cumsum()
        filled = ends[fit.stops - 1]
        fills = filled - np.concatenate([[0], filled[:-1]])
        picked = filled - fills + (np.arange(1, len(fills) + 1) * _STRIDE % 1.0 * fills).astype(np.int64)
        turns = fit.pieces[ends.searchsorted(picked, side="right")]
        at = np.flatnonzero(np.array(["rest" in piece for piece in pieces])[fit.pieces])
        np.maximum.at(turns, fit.stops.searchsorted(at, side="right"), fit.pieces[at])
        return fit, fills, turns

    def _row(self, pieces: list[Piece]) -> Row:
        return row_of(pieces, self.length, self.weighting)
