"""Best-fit decreasing: which pieces share a row. Owns that choice alone; it sees sizes, not tokens.

Source: Ding et al., "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830): each piece, longest first, goes
where it leaves the least room.
"""

from collections.abc import Sequence

import numpy as np


def best_fit(sizes: Sequence[int] | np.ndarray, length: int) -> list[list[int]]:
    """The pieces of each row, by index and in order; rows by their first piece. No piece is over `length`.

    O(n log n) for n pieces, the sorting; placing takes O(log length) each, and pieces of one size go together.
    """
    each = np.asarray(sizes, np.int64)
    order = np.argsort(-each, kind="stable")
    starts = np.flatnonzero(np.diff(each[order], prepend=0)).tolist()
    rooms = _Rooms(length)
    placed: list[int] = []
    count = 0
    for start, stop in zip(starts, [*starts[1:], len(each)], strict=True):
        size, left = int(each[order[start]]), stop - start
        while left and (found := rooms.take(size)):
            room, row = found
            several = min(left, room // size)  # where one fits best, the next of its size does too
            placed += [row] * several
            left -= several
            rooms.add(room - several * size, [row])
        if left:
            several = length // size
            new = range(count, count - -left // several)
            placed += [row for row in new for _ in range(several)][:left]
            rooms.add(length - several * size, new[:-1])
            rooms.add(length - (left - several * (len(new) - 1)) * size, new[-1:])
            count = new.stop
    row_of = np.empty(len(each), np.int64)
    row_of[order] = placed
    return _by_first(row_of, count)


def _by_first(row_of: np.ndarray, count: int) -> list[list[int]]:
    by_row = np.argsort(row_of, kind="stable")
    stops = np.cumsum(np.bincount(row_of, minlength=count)).tolist()
    pieces = by_row.tolist()
    return sorted(pieces[a:b] for a, b in zip([0, *stops], stops, strict=False))


_BITS = 8  # a word of 256 rooms: a Python integer finds its lowest set bit at once


class _Rooms:
    """Open rows by the room they have: a tree of bit sets over 0 ... length finds the smallest that is enough."""

    def __init__(self, length: int):
        self._rows: dict[int, list[int]] = {}
        self._levels: list[list[int]] = []
        words = length
        while not self._levels or len(self._levels[-1]) > 2:
            words >>= _BITS
            self._levels.append([0] * (words + 2))  # one more, to be asked for what comes after the last

    def add(self, room: int, rows: Sequence[int]) -> None:
        """More rows with so much room; full ones are of no more use."""
        if not room or not rows:
            return
        known = self._rows.setdefault(room, [])
        fresh = not known
        known += rows
        for words in self._levels if fresh else ():
            words[room >> _BITS] |= 1 << (room & (1 << _BITS) - 1)
            room >>= _BITS

    def take(self, size: int) -> tuple[int, int] | None:
        """(room, row) of the row with the least room that is enough, which is then no longer here."""
        room = self._at_least(size)
        if room is None:
            return None
        rows = self._rows[room]
        row = rows.pop()
        if not rows:
            del self._rows[room]
            self._clear(room)
        return room, row

    def _at_least(self, size: int) -> int | None:
        at = size
        for _level, words in enumerate(self._levels):
            word = words[at >> _BITS] >> (at & (1 << _BITS) - 1)
            if word:
                at += (word & -word).bit_length() - 1
                break
            at = (at >> _BITS) + 1
        else:
            return None
        for words in reversed(self._levels[:_level]):
            at = at << _BITS | (words[at] & -words[at]).bit_length() - 1
        return at

    def _clear(self, room: int) -> None:
        for words in self._levels:
            words[room >> _BITS] &= ~(1 << (room & (1 << _BITS) - 1))
            if words[room >> _BITS]:
                return
            room >>= _BITS
