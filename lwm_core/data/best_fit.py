"""Best-fit decreasing over a buffer of samples: rows nearly full, and only samples longer than a row are cut.

Owns which samples share a row. Source: Ding et al., "Fewer Truncations Improve Language Modeling"
(arXiv 2404.10830): cut what is longer than the row into row-long pieces, then put each piece, longest first,
where it leaves the least room. O(n log n) in the pieces of a buffer.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.data.base import Row, Sample
from lwm_core.data.rows import append, check_options, check_sample, from_json, pieces_of, row_of, to_json
from lwm_core.data.weighting import Weighting, check_weighting


@dataclass(frozen=True)
class BestFitPacker:
    """Packs a buffer at a time; the emptier half of its rows stays in the buffer for another try.

    - `length`: tokens in a row;
    - `buffer`: rows' worth of tokens that are held while looking for a fit. More gives fuller rows, a longer
      wait and a larger checkpoint (about 5.4 bytes a token);
    - `cut`: "long" cuts a sample longer than a row, "error" refuses it;
    - `weighting`: "token", "example" or "sqrt", see `lwm_core.data.weighting`.

    No sample waits for ever: the row with the oldest one always leaves.
    """

    length: int
    buffer: int = 32
    cut: Literal["long", "error"] = "long"
    weighting: Weighting = "token"

    def __post_init__(self):
        check_options(self.length, self.cut, ("long", "error"))
        check_weighting(self.weighting)
        if self.buffer < 1:
            raise ValueError(f"buffer={self.buffer}: hold at least 1 row.")

    def init(self) -> dict[str, Any]:
        return {"held": 0, "blocks": []}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        check_sample(sample, self.length, self.cut != "error")
        pieces = pieces_of(sample, self.length, self.length)
        rows = [self._row([p]) for p in pieces if len(p.tokens) == self.length]
        if len(pieces[-1].tokens) < self.length:
            held = state["held"] + len(pieces[-1].tokens)
            state = {"held": held, "blocks": append(state["blocks"], to_json(pieces[-1]))}
        if state["held"] < self.buffer * self.length:
            return state, rows
        state, packed = self._emit(state)
        return state, rows + packed

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Packs and returns all that is left; the state is then as `init` gives it."""
        kept = _kept(state)
        bins = best_fit([k["length"] for k in kept], self.length)
        return self.init(), [self._row([from_json(kept[i]) for i in b]) for b in bins]

    def _emit(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        kept = _kept(state)
        sizes = [k["length"] for k in kept]
        bins = best_fit(sizes, self.length)
        fullest = sorted(range(1, len(bins)), key=lambda b: -sum(sizes[i] for i in bins[b]))
        leave = sorted([0, *fullest[: len(bins) // 2]])  # bin 0 holds the oldest piece
        rows = [self._row([from_json(kept[i]) for i in bins[b]]) for b in leave]
        gone = {i for b in leave for i in bins[b]}
        state = self.init()
        for index, piece in enumerate(kept):
            if index not in gone:
                state = {
                    "held": state["held"] + piece["length"],
                    "blocks": append(state["blocks"], piece),
                }
        return state, rows

    def _row(self, pieces: Sequence) -> Row:
        return row_of(pieces, self.length, self.weighting)


def best_fit(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Which pieces share a row, by index: each row's in order, rows by their oldest piece."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        at = bisect_left(rooms, (sizes[index], -1))
        if at < len(rooms):
            room, chosen = rooms.pop(at)
            bins[chosen].append(index)
        else:
            room, chosen = length, len(bins)
            bins.append([index])
        if room > sizes[index]:
            insort(rooms, (room - sizes[index], chosen))
    return sorted(sorted(b) for b in bins)


def _kept(state: dict[str, Any]) -> list[dict]:
    return [kept for block in state["blocks"] for kept in block]
