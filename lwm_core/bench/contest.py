"""The contest: contenders take turns at one case, round after round, and medians are compared.

Owns the order of measuring, the number of calls in one sample, and the record of each result. Turns are
interleaved (A B A B), so that a machine that slows down slows everyone down.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax

from lwm_core.attention.pairs import attended_pairs
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Contender, Entry
from lwm_core.bench.counts import flops, imbalance, work_by_shard
from lwm_core.bench.truth import Truth


# One sample is as many calls as fill this time, so that starting a call does not count.
_SAMPLE_SECONDS = 0.02
# Compilers may need a little more than they announce.
_USABLE_MEMORY = 0.8
PASSES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Record:
    """One contender's result on one pass of one case; bytes are per device, None where it cannot be known.

    `error` is the largest difference from float64 over the largest value, of some outputs or gradients of q.
    `work_max_over_mean` counts attended pairs over the shards of the row; `wire_bytes` is everything that a
    device sends, `wire_bytes_arrays` without the coordinates of tokens.
    """

    backend: str
    case: str
    direction: str
    seconds_median: float
    seconds_least: float
    flops_per_second: float
    temporary_bytes: int | None
    wire_bytes: int | None
    wire_bytes_arrays: int | None
    work_max_over_mean: float | None
    attended_pairs: int
    error: float
    samples: int
    options: str
    length: int
    devices: int
    dtype: str
    platform: str


class Refusal(NamedTuple):
    """Why a contender did not take part in a case."""

    backend: str
    case: str
    reason: str


class Contest(NamedTuple):
    """All results, and who was not measured."""

    records: list[Record]
    refused: list[Refusal]


def contest(
    case: Case, contenders: Sequence[Contender], repeats: int = 5, told: Callable[[str], None] = lambda line: None
) -> Contest:
    """Every contender that supports the case, forward and forward with backward.

    **Arguments:**

    - `repeats`: rounds, after one call each to warm up;
    - `told`: gets a line for a person whenever something is done.
    """
    records, refused, ready = [], [], []
    for contender in contenders:
        support = contender.supports(case)
        if support.ok:
            ready.append(contender)
        else:
            refused.append(Refusal(contender.name, case.name, support.reason))
    inputs = case.inputs()
    truth = Truth(case, inputs)
    for backward in (False, True):
        entries = {}
        for contender in ready:
            told(f"{case.name}: preparing {contender.name}, {PASSES[backward]}")
            entry = contender.prepare(case, inputs, backward=backward)
            excess = _excess(entry, case)
            if excess:
                refused.append(Refusal(contender.name, case.name, f"{PASSES[backward]}: {excess}"))
            else:
                entries[contender.name] = entry
        records += _raced(case, inputs, entries, truth, repeats, backward)
    return Contest(records, refused)


def _raced(
    case: Case, inputs: Inputs, entries: dict[str, Entry], truth: Truth, repeats: int, backward: bool
) -> list[Record]:
    """All rounds of one pass."""
    errors = {name: truth.error(entry.result(), backward=backward) for name, entry in entries.items()}
    calls = {name: max(1, int(_SAMPLE_SECONDS / _timed(entry, 1))) for name, entry in entries.items()}
    samples = {name: [] for name in entries}
    for _ in range(repeats):
        for name, entry in entries.items():
            samples[name].append(_timed(entry, calls[name]))
    return [_record(case, inputs, n, e, samples[n], errors[n], backward) for n, e in entries.items()]


def _timed(entry: Entry, calls: int) -> float:
    start = time.perf_counter()
    entry.run(calls)
    return (time.perf_counter() - start) / calls


def _record(
    case: Case, inputs: Inputs, name: str, entry: Entry, samples: list[float], error: float, backward: bool
) -> Record:
    pairs = int(attended_pairs(inputs.position, inputs.segment, case.rule).sum())
    median = statistics.median(samples)
    work = flops(pairs, case.heads, case.head_dim, backward=backward)
    sent = None if entry.wire is None else int(sum(entry.wire.values()))
    arrays = None if entry.wire is None else int(sum(n for (_, kind), n in entry.wire.items() if kind == "float"))
    return Record(
        name,
        case.name,
        PASSES[backward],
        median,
        min(samples),
        work / median,
        entry.temporary_bytes,
        sent,
        arrays,
        _balance(case, inputs, entry),
        pairs,
        error,
        len(samples),
        entry.options,
        case.length,
        case.devices,
        case.dtype,
        jax.default_backend(),
    )


def _balance(case: Case, inputs: Inputs, entry: Entry) -> float | None:
    """None where one device does it all, or where shards trade slots for heads and so hold whole rows."""
    if case.devices == 1 or entry.order is None or entry.wire is None:
        return None
    if any(name == "all_to_all" for name, _ in entry.wire):
        return None
    position, segment = (x[:, entry.order] for x in (inputs.position, inputs.segment))
    return imbalance(work_by_shard(position, segment, case.rule, case.devices))


def _excess(entry: Entry, case: Case) -> str:
    """What to say when an entry needs more memory than there is; empty when it fits."""
    if entry.temporary_bytes is None:
        return ""
    stats = jax.devices()[0].memory_stats() or {}
    shared = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // case.devices
    have = int(stats.get("bytes_limit", shared) * _USABLE_MEMORY)
    if entry.temporary_bytes <= have:
        return ""
    return (
        f"it needs {entry.temporary_bytes / 1e9:.1f} GB of temporary memory per device and {have / 1e9:.1f} are there."
    )
