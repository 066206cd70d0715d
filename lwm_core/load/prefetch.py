"""Works a few steps ahead in a thread. Owns that thread; what a step is, `Stream` knows."""

from collections.abc import Generator
from typing import Any

from grain.experimental import ThreadPrefetchDatasetIterator


class Ahead:
    """The items of `steps`, computed up to `count` ahead; an error comes out where its item would."""

    def __init__(self, steps: Generator, count: int):
        self._steps = steps
        self._thread = ThreadPrefetchDatasetIterator(_Stateless(steps), count)

    def __next__(self) -> Any:
        return next(self._thread).item

    def close(self) -> None:
        self._thread.close()
        self._steps.close()


class _Item:
    """Hides the step from Grain, which would otherwise walk through it as a tree."""

    def __init__(self, item: Any):
        self.item = item


class _Stateless:
    """Each step carries its own state, so that Grain, which copies states deeply, has none to copy."""

    def __init__(self, steps: Generator):
        self._steps = steps

    def __iter__(self):
        return self

    def __next__(self) -> _Item:
        return _Item(next(self._steps))

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        raise NotImplementedError("A step carries its own state; open a new Ahead there.")
