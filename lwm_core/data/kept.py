"""Which records of a source are given: all, or those that a check let through; found once, and kept if asked.

Owns that selection, its report, and its file in a cache folder. What is checked, the source knows.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data.problems import BadRecord, LeftOut, Tally, logged


FORMAT = 1  # of what is kept; raised when an older selection may no longer be right
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Kept:
    """`kept[i]` is the record behind document i, of `total`; `chosen` None means every one."""

    total: int
    chosen: np.ndarray | None = None
    report: LeftOut = field(default_factory=lambda: LeftOut(0, 0))

    def __len__(self) -> int:
        return self.total if self.chosen is None else len(self.chosen)

    def __getitem__(self, index: int) -> int:
        count = len(self)
        if not count:
            raise IndexError(f"Document {index} of a source that has none left: see its `left_out`.")
        if not -count <= index < count:
            raise IndexError(f"Document {index} of {count}: they count from 0 to {count - 1}.")
        at = int(index) % count
        return at if self.chosen is None else int(self.chosen[at])


def kept_of(
    total: int,
    faults_of: Callable[[range], Sequence[BadRecord | None]],
    whole: Sequence[BadRecord],
    stamp: Any,
    cache: Path | None,
    what: str,
    level: int = logging.WARNING,
) -> Kept:
    """The records in which `faults_of` a block of them finds none.

    - `whole`: faults of files as a whole, reported first; - `stamp`: JSON that changes when the answer may;
    - `cache`: a folder in which the answer is kept, or None; - `what`, `level`: how the source is
      called in the log, and how loudly.
    """
    key = hashlib.sha256(json.dumps([FORMAT, total, stamp], sort_keys=True).encode()).hexdigest()[:32]
    place = None if cache is None else Path(cache) / "kept" / f"{key}.npz"
    if place is not None and place.exists():
        with np.load(place, allow_pickle=False) as data:
            facts = json.loads(str(data["report"]))
            report = LeftOut(**{**facts, "first": tuple(facts["first"])})
            return Kept(total, data["chosen"], logged(report, what, level))
    tally = Tally()
    for fault in whole:
        tally.add(fault)
    chosen = np.fromiter(_passing(total, faults_of, tally), np.int64)
    kept = Kept(total, chosen, logged(tally.report(total), what, level))
    if place is not None:
        _write(place, kept)
    return kept


def fault_of(read: Callable[[int], Any], index: int) -> BadRecord | None:
    """What is wrong with one record, found by reading it."""
    try:
        read(index)
    except BadRecord as fault:
        return fault
    return None


def _passing(total: int, faults_of: Callable[[range], Sequence[BadRecord | None]], tally: Tally) -> Iterator[int]:
    for start in range(0, total, _AT_ONCE):
        block = range(start, min(total, start + _AT_ONCE))
        for index, fault in zip(block, faults_of(block), strict=True):
            if fault is None:
                yield index
            else:
                tally.add(fault)


def _write(place: Path, kept: Kept) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    making = place.with_name(f"{place.stem}.{os.getpid()}.npz")
    try:
        np.savez(making, chosen=np.asarray(kept.chosen), report=json.dumps(asdict(kept.report)))
        making.replace(place)
    finally:
        making.unlink(missing_ok=True)
