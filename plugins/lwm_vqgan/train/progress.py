"""What a person sees while a tokenizer is trained: a bar on a terminal, a line now and then in a log. Owns no work."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


EVERY = 10.0  # seconds between two lines of a log


class _Bar:
    """A live bar with the time left."""

    def __init__(self, bar: Progress, total: int, done: int):
        self._bar, self._task = bar, bar.add_task("tokenizer", total=total, completed=done, note="")

    def step(self, done: int, note: str) -> None:
        self._bar.update(self._task, completed=done, note=note)

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False)


class _Lines:
    """Lines of a log with the time left."""

    def __init__(self, total: int, done: int):
        self._total, self._first = total, done
        self._began = time.monotonic()
        self._last = -EVERY

    def step(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self._began - self._last < EVERY and done < self._total:
            return
        self._last = now - self._began
        left = self._last / max(done - self._first, 1) * (self._total - done)
        self.say(f"step {done}/{self._total}  {note}  {self._last:.0f} s, {left:.0f} s left")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(total: int, done: int) -> Iterator[_Bar | _Lines]:
    """What shows a run of `total` steps that stands at `done`, on standard error."""
    if not sys.stderr.isatty():
        yield _Lines(total, done)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Bar(bar, total, done)
