"""Best-fit decreasing: which pieces share a row. Owns that choice alone; it sees sizes, not tokens.

Source: Ding et al., "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830): each piece, longest first, goes
where it leaves the least room.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Fit(NamedTuple):
    """Which pieces share a row.

    `pieces` int64 [pieces]: their indices row after row, in order within a row; `stops` int64 [rows]: where each row
    ends in it. Rows are in the order of their first piece.
    """

    pieces: np.ndarray
    stops: np.ndarray

    def row(self, index: int) -> list[int]:
        """The pieces of one row."""
        return self.pieces[self.stops[index - 1] if index else 0 : self.stops[index]].tolist()


def best_fit(sizes: Sequence[int] | np.ndarray, length: int) -> Fit:
    """Best-fit decreasing of pieces of at most `length` each.

    O(n log n) for n pieces: they are sorted, and each finds its row by bisection; pieces of one size go together.
    """
    each = np.asarray(sizes, np.int64)
    order = (-each).argsort(kind="stable")
    falling = each[order]
    starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    open_rows = _Open()
    placed: list[int] = []
    count = 0
    for size, left in zip(falling[starts].tolist(), np.diff(starts, append=len(each)).tolist(), strict=True):
        if size == length:
            placed += range(count, count + left)
            count, left = count + left, 0
        while left:
            key = open_rows.take(size << _ROW)
            if key is None:
                key = length << _ROW | count
                count += 1
            several = min(left, (key >> _ROW) // size)  # where one fits best, the next of its size does too
            placed += [key & _MASK] * several if several > 1 else (key & _MASK,)
            left -= several
            key -= several * size << _ROW
            if key > _MASK:
                open_rows.add(key)
    row_of = np.empty(len(each), np.int64)
    row_of[order] = placed
    return _by_first(row_of, count)


def _by_first(row_of: np.ndarray, count: int) -> Fit:
    """Rows numbered anew by their first piece."""
    pieces = row_of.argsort(kind="stable")
    sizes = np.bincount(row_of, minlength=count)
    by_first = pieces[sizes.cumsum() - sizes].argsort()
    rank = np.empty(count, np.int64)
    rank[by_first] = np.arange(count)
    return Fit(rank[row_of].argsort(kind="stable"), sizes[by_first].cumsum())


_BLOCK = 1024
_ROW = 40  # bits of a row's number, below its room: one integer, a key, sorts by room and remembers the row
_MASK = (1 << _ROW) - 1


class _Open:
    """Keys of rows with room, in sorted blocks: two bisections find the least room that is enough, and what moves is a
    block, however many rows there are.
    """

    def __init__(self):
        self._blocks: list[list[int]] = []
        self._lasts: list[int] = []  # of each block

    def add(self, key: int) -> None:
        """One more row."""
        if not self._blocks:
            self._blocks, self._lasts = [[key]], [key]
            return
        at = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        block = self._blocks[at]
        insort(block, key)
        self._lasts[at] = block[-1]
        if len(block) > _BLOCK:
            half = len(block) // 2
            self._blocks[at : at + 1] = [block[:half], block[half:]]
            self._lasts[at : at + 1] = [block[half - 1], block[-1]]

    def take(self, least: int) -> int | None:
        """The smallest key from `least` on, which is then no longer here."""
        at = bisect_left(self._lasts, least)
        if at == len(self._lasts):
            return None
        block = self._blocks[at]
        key = block.pop(bisect_left(block, least))
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]
        return key
