"""The packer that does not pack: one sample a row, padded. The baseline that packing is measured against."""

from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.rows import check_options, check_sample, pieces_of, row_of
from lwm_core.data.weighting import Weighting, check_weighting


@dataclass(frozen=True)
class PaddingPacker:
    """One sample a row; keeps nothing back.

    - `length`: tokens in a row;
    - `cut`: "long" cuts a sample longer than a row into several rows, "error" refuses it;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.
    """

    length: int
    cut: Literal["long", "error"] = "long"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("long", "error"))
        check_weighting(self.weighting)

    def init(self) -> dict[str, Any]:
        return {}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns its rows."""
        check_sample(sample, self.length, self.cut != "error")
        pieces = pieces_of(sample, self.length, self.length)
        return state, [row_of([piece], self.length, self.weighting) for piece in pieces]

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Nothing is ever left."""
        return self.init(), []
