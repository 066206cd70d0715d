"""The reference packer: rows filled in the order of the samples. Owns that order; not how a row is built."""

from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.rows import (
    Piece,
    append,
    check_options,
    check_sample,
    from_json,
    pieces_of,
    row_of,
    to_json,
)
from lwm_core.data.weighting import Weighting, check_weighting


@dataclass(frozen=True)
class SequentialPacker:
    """Fills rows in order; samples of one row do not see each other.

    - `length`: tokens in a row;
    - `cut`: "continue" fills every row to its end, and the sample at the border goes on in the next row as a
      segment of its own; "long" cuts only a sample longer than a row, others start a new row when they do not
      fit; "error" refuses a longer one;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.
    """

    length: int
    cut: Literal["continue", "long", "error"] = "continue"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("continue", "long", "error"))
        check_weighting(self.weighting)

    def init(self) -> dict[str, Any]:
        return {"filled": 0, "blocks": []}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        check_sample(sample, self.length, self.cut != "error")
        room = self.length - state["filled"]
        rows: list[Row] = []
        if self.cut != "continue" and len(sample) > room:
            state, rows = self.flush(state)
            room = self.length
        for piece in pieces_of(sample, room, self.length):
            state, complete = self._add(state, piece)
            rows += complete
        return state, rows

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Pads and returns what is left; the state is then as `init` gives it."""
        pieces = _waiting(state)
        return self.init(), [row_of(pieces, self.length, self.weighting)] if pieces else []

    def _add(self, state: dict[str, Any], piece: Piece) -> tuple[dict[str, Any], list[Row]]:
        filled = state["filled"] + len(piece.tokens)
        if filled < self.length:
            return {"filled": filled, "blocks": append(state["blocks"], to_json(piece))}, []
        return self.init(), [row_of([*_waiting(state), piece], self.length, self.weighting)]


def _waiting(state: dict[str, Any]) -> list[Piece]:
    return [from_json(kept) for block in state["blocks"] for kept in block]
