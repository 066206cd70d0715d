"""The packer that does not pack: one sample a row, padded. The baseline that packing is measured against."""

from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.pieces import pieces_of
from lwm_core.data.rows import check_options, nothing_skipped, row_of, skipping, takes
from lwm_core.data.weighting import Weighting


@dataclass(frozen=True)
class PaddingPacker:
    """One sample a row; keeps nothing back.

    - `length`: tokens in a row;
    - `cut`: "long" cuts a sample longer than a row into several rows, "error" refuses it, "skip" leaves it out and
      counts it in the state;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.
    """

    length: int
    cut: Literal["long", "error", "skip"] = "long"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("long", "error", "skip"), self.weighting)

    def init(self) -> dict[str, Any]:
        return {"skipped": nothing_skipped()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns its rows."""
        if not takes(sample, self.length, self.cut):
            return skipping(state, sample), []
        pieces = pieces_of(sample, self.length, self.length)
        return state, [row_of([piece], self.length, self.weighting) for piece in pieces]

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Nothing is ever left."""
        return state, []
