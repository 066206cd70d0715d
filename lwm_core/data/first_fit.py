"""First-fit: each sample goes into the first open row with room for it. Owns which rows are open."""

from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.pieces import Piece, append, pieces_of, waiting
from lwm_core.data.rows import check_options, nothing_skipped, row_of, skipping, takes
from lwm_core.data.weighting import Weighting


@dataclass(frozen=True)
class FirstFitPacker:
    """Rows in the order in which they were opened, each filled while a window of rows passes by.

    - `length`: tokens in a row;
    - `window`: rows that are open at a time, full ones too; when a sample fits in none, the oldest row leaves. More
      gives fuller rows, a longer wait and a larger checkpoint;
    - `cut`: "long" cuts a sample longer than a row, "error" refuses it, "skip" leaves it out and counts it in the
      state;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.
    """

    length: int
    window: int = 64
    cut: Literal["long", "error", "skip"] = "long"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("long", "error", "skip"), self.weighting)
        if self.window < 1:
            raise ValueError(f"window={self.window}: keep at least 1 row open.")

    def init(self) -> dict[str, Any]:
        return {"rooms": [], "rows": [], "skipped": nothing_skipped()}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        if not takes(sample, self.length, self.cut):
            return skipping(state, sample), []
        rooms, rows = list(state["rooms"]), list(state["rows"])
        for piece in pieces_of(sample, self.length, self.length):
            self._place(piece, rooms, rows)
        done = max(0, len(rows) - self.window)
        after = {"rooms": rooms[done:], "rows": rows[done:], "skipped": state["skipped"]}
        return after, [self._row(blocks) for blocks in rows[:done]]

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Pads and returns what is left; the state is then as `init` gives it, but for what was skipped."""
        return {**self.init(), "skipped": state["skipped"]}, [self._row(blocks) for blocks in state["rows"]]

    def _place(self, piece: Piece, rooms: list[int], rows: list[list]) -> None:
        size = piece["length"]
        oldest = max(0, len(rows) - self.window)
        if "rest" not in piece:  # which leaves after its beginning, so in a row of its own, opened now
            for at in range(oldest, len(rooms)):
                if rooms[at] >= size:
                    rooms[at] -= size
                    rows[at] = append(rows[at], piece)
                    return
        rooms.append(self.length - size)
        rows.append([[piece]])

    def _row(self, blocks: list) -> Row:
        return row_of(waiting(blocks), self.length, self.weighting)
