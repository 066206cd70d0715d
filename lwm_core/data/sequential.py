"""The reference packer: rows filled in the order of the samples. Owns that order; not how a row is built."""

from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.pieces import append, pieces_of, waiting
from lwm_core.data.rows import check_options, nothing_skipped, row_of, skipping, takes
from lwm_core.data.weighting import Weighting


@dataclass(frozen=True)
class SequentialPacker:
    """Fills rows in order; samples of one row do not see each other.

    - `length`: tokens in a row;
    - `cut`: "continue" fills every row to its end, and the sample at the border goes on in the next row as a
      segment of its own; "long" cuts only a sample longer than a row, others start a new row when they do not
      fit; "error" refuses a longer one, "skip" leaves it out and counts it in the state;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.
    """

    length: int
    cut: Literal["continue", "long", "error", "skip"] = "continue"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("continue", "long", "error", "skip"), self.weighting)

    def init(self) -> dict[str, Any]:
        return {"filled": 0, "blocks": [], "skipped": nothing_skipped()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        if not takes(sample, self.length, self.cut):
            return skipping(state, sample), []
        filled, blocks = state["filled"], state["blocks"]
        rows: list[Row] = []
        if self.cut != "continue" and filled + len(sample) > self.length:
            rows, filled, blocks = self._rest(blocks), 0, []
        for piece in pieces_of(sample, self.length - filled, self.length):
            filled, blocks = filled + piece["length"], append(blocks, piece)
            if filled == self.length:
                rows, filled, blocks = rows + self._rest(blocks), 0, []
        return {"filled": filled, "blocks": blocks, "skipped": state["skipped"]}, rows

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Pads and returns what is left; the state is then as `init` gives it, but for what was skipped."""
        return {**self.init(), "skipped": state["skipped"]}, self._rest(state["blocks"])

    def _rest(self, blocks: list) -> list[Row]:
        return [row_of(waiting(blocks), self.length, self.weighting)] if blocks else []
