"""What is wrong with a record, where, and how to mend it; and what a source has left out because of that.

Owns the one form that every source and `lwm validate` report in. It finds no fault itself.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable


_KINDS = 100  # of fault that are told apart
SHOWN = 3  # of what was left out, this much is told
OnError = Literal["fail", "skip"]
Unit = Literal["line", "row", "record"]


class BadRecord(ValueError):
    """One fault: which field (may be ""), what is wrong with it, what to write instead, and the place.

    - `file`, `line`: as people count, from 1; 0 is the file as a whole; `unit` is what is counted.
    """

    def __init__(self, field: str, problem: str, fix: str, file: str = "", line: int = 0, unit: Unit = "line"):
        self.args = (field, problem, fix, file, line, unit)
        self.field, self.problem, self.fix = field, problem, fix
        self.file, self.line = file, line
        self.unit: Unit = unit

    def at(self, file: object, line: int, unit: Unit = "line") -> "BadRecord":
        """The same fault with its place; one that has a place keeps it."""
        if self.file:
            return self
        return BadRecord(self.field, self.problem, self.fix, str(file), self.line or line, unit)

    def after(self, line: int) -> "BadRecord":
        """The same fault of a file, which shows after its last good line."""
        return BadRecord(self.field, self.problem, self.fix, self.file, line + 1 if line else 0, self.unit)

    def __str__(self) -> str:
        what = f"field {self.field!r} {self.problem}" if self.field else self.problem
        place = place_of(self.file, self.line, self.unit)
        between = ": " if self.line or self.field else " "  # a file as a whole "is empty"
        return f"{place}{between}{what}: {self.fix}" if place else f"{what}: {self.fix}"


def place_of(file: object, line: int, unit: Unit = "line") -> str:
    """`file:7`, or `file:row 7` for what has no lines."""
    if not line:
        return str(file)
    return f"{file}:{line}" if unit == "line" else f"{file}:{unit} {line}"


@dataclass(frozen=True)
class LeftOut:
    """Of `of` records, `count` were left out; `first` says why for a few, `kinds` how often each fault occurred."""

    count: int
    of: int
    first: tuple[str, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.count} of {self.of} records left out", *self.first]
        more = self.count - len(self.first)
        return "\n  ".join([*lines, f"... and {more} more"] if more > 0 else lines)


@runtime_checkable
class LeavesOut(Protocol):
    """A source that can say what it does not give; reading the property may take one pass over the data."""

    @property
    def left_out(self) -> LeftOut: ...


def reports(sources: Mapping[str, object]) -> dict[str, LeftOut]:
    """What sources leave out, by name, of those that leave out anything."""
    found = {name: source.left_out for name, source in sources.items() if isinstance(source, LeavesOut)}
    return {name: report for name, report in found.items() if report.count}


def check_on_error(on_error: str) -> None:
    if on_error not in ("fail", "skip"):
        raise ValueError(f"on_error={on_error!r}: give fail (stop at the first bad record) or skip (leave it out).")


@dataclass
class Tally:
    """Faults as they come: counted by kind, the first few kept."""

    shown: int = SHOWN
    first: list[BadRecord] = field(default_factory=list)
    kinds: Counter = field(default_factory=Counter)

    def add(self, fault: BadRecord) -> None:
        kind = fault.problem.partition(" (")[0]
        self.kinds[kind if kind in self.kinds or len(self.kinds) < _KINDS else "other faults"] += 1
        if len(self.first) < self.shown:
            self.first.append(fault)

    def report(self, of: int) -> LeftOut:
        """What was left out of `of` records."""
        kinds = dict(self.kinds.most_common(10))
        return LeftOut(self.kinds.total(), of, tuple(map(str, self.first)), kinds)


def logged(report: LeftOut, what: str, level: int = logging.WARNING) -> LeftOut:
    """The report, said once in the log (logger "lwm.data") when it is not of nothing."""
    if report.count:
        logging.getLogger("lwm.data").log(level, "%s: %s", what, report)
    return report
