"""The order of an epoch for sources that read a window of documents at a time: row groups of a table, a stream.

Owns that order and how a source asks for it. A source that reads any document as fast as the next asks for nothing,
and is shuffled whole (`lwm_core.load`).
"""

from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Windowed(Protocol):
    """A source whose documents are read together, a window at a time.

    - `windows`: int64 [w + 1], from 0 to the number of documents, not falling: window w is the documents from
      `windows[w]` up to `windows[w + 1]`. None: any document is as near as the next, as if this were not asked;
    - `together`: how many windows it holds at once; - `in_order`: whether they are cheap one after the other only.
    """

    @property
    def windows(self) -> np.ndarray | None: ...

    @property
    def together(self) -> int: ...

    @property
    def in_order(self) -> bool: ...


def order_of(source: object) -> "WindowOrder | None":
    """The order in which to shuffle this source; None where it may be shuffled whole."""
    windows = source.windows if isinstance(source, Windowed) else None
    return None if windows is None else WindowOrder(windows, source.together, source.in_order)  # type: ignore[attr-defined]


class WindowOrder:
    """`order(at, seed)`: the at-th document of the epoch that `seed` shuffles.

    Windows are shuffled (unless they come in order), and then the documents of every `together` of them: a window is
    read once an epoch, and nothing outside of those few is needed at the same time.
    """

    def __init__(self, windows: np.ndarray, together: int, in_order: bool):
        self._windows = np.asarray(windows, np.int64)
        self._together, self._in_order = max(1, together), in_order
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, at: int, seed: int) -> int:
        order, stops = self._epoch(seed)
        pool = int(np.searchsorted(stops, at, "right"))
        start = int(stops[pool - 1]) if pool else 0
        members = order[pool * self._together : (pool + 1) * self._together]
        sizes = self._windows[members + 1] - self._windows[members]
        place = int(_permutation(int(stops[pool]) - start, seed, pool)[at - start])
        ends = np.cumsum(sizes)
        which = int(np.searchsorted(ends, place, "right"))
        return int(self._windows[members[which]] + place - (ends[which] - sizes[which]))

    def _epoch(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The windows in order, and where in the epoch each pool of them stops. The last two epochs are kept."""
        if seed not in self._epochs:
            self._epochs = {**dict(list(self._epochs.items())[-1:]), seed: self._made(seed)}
        return self._epochs[seed]

    def _made(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        count = len(self._windows) - 1
        order = np.arange(count) if self._in_order else _permutation(count, seed, -1)
        ends = np.cumsum(self._windows[order + 1] - self._windows[order])
        return order, ends[np.minimum(np.arange(self._together, count + self._together, self._together), count) - 1]


def windows_within(windows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The same windows over some of the documents, whose rising numbers are `chosen`."""
    return np.searchsorted(chosen, windows).astype(np.int64)


@lru_cache(maxsize=64)
def _permutation(count: int, seed: int, pool: int) -> np.ndarray:
    """Of `count`; random keys, sorted, which no version of NumPy changes, as its generators may."""
    keys = np.random.SeedSequence([seed, pool + 1]).generate_state(count, np.uint64)
    return np.argsort(keys, kind="stable")
