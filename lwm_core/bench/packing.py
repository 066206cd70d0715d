"""Packing measured: packers and Grain's own in turns, on the lengths of real documents; and the balance of the rows.

Owns the documents, the rounds and the figures. Which packers are measured, and how results are shown, others say.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lwm_core.data import Packer, Row, Sample
from lwm_core.data.balance import balanced, cost, imbalance, shard_costs
from lwm_core.layout.base import AbstractLayout


Run = Callable[[], int]  # packs the documents once, and says how many rows that made
BINS = 64  # rows that Grain fills at a time: as many as the best-fit packer holds


@cache
def lengths() -> np.ndarray:
    """int64 [100,000]: lengths of real documents, see `lengths.json`; in a fixed order without a pattern."""
    kept = json.loads(Path(__file__).with_name("lengths.json").read_text("utf-8"))
    each = np.repeat(np.asarray(kept["lengths"]), kept["counts"])
    return np.random.default_rng(0).permutation(each)


def documents(tokens: int) -> list[Sample]:
    """Documents of real lengths with at least so many tokens in all; their ids are drawn by chance."""
    several = -(-tokens // int(lengths().sum()))
    sizes = np.tile(lengths(), several)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), tokens)) + 1]
    ids = np.random.default_rng(1).integers(0, 32000, int(sizes.max())).astype(np.int32)
    loss = np.ones(len(ids), np.float32)
    return [Sample(ids[:size], loss[:size], f"document {i}") for i, size in enumerate(sizes.tolist())]


def rows_of(packer: Packer, samples: Iterable[Sample]) -> Iterator[Row]:
    """All rows, those of the flush too."""
    state = packer.init()
    for sample in samples:
        state, rows = packer.push(state, sample)
        yield from rows
    yield from packer.flush(state)[1]


def packing_run(packer: Packer, samples: list[Sample]) -> Run:
    return lambda: sum(1 for _ in rows_of(packer, samples))


def grain_run(samples: list[Sample], length: int, weights: bool) -> Run:
    """Grain's best-fit packer. It cuts nothing, so longer documents come to it in rows already.

    With `weights` it packs the loss weights beside the ids, as every packer of ours does; without, the ids alone.
    """
    from grain.experimental import BestFitPackIterDataset

    fields = ("tokens", "loss") if weights else ("tokens",)
    items = [
        {name: getattr(sample, name)[start : start + length] for name in fields}
        for sample in samples
        for start in range(0, len(sample), length)
    ]
    parent: Any = _dataset(items)
    shape = dict.fromkeys(fields, length)
    rows = BestFitPackIterDataset(parent, length_struct=shape, num_packing_bins=BINS, shuffle_bins=False)
    return lambda: sum(1 for _ in rows)


def measured(runs: Mapping[str, Run], samples: list[Sample], length: int, repeats: int) -> list[dict[str, Any]]:
    """A record for each: rounds in turns after one to warm up, the median of a run's seconds, rows over the bound."""
    tokens = sum(map(len, samples))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    rows: dict[str, int] = {}
    for _ in range(1 + repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            rows[name] = run()
            seconds[name].append(time.perf_counter() - start)
    fewest = -(-tokens // length)
    return [
        {
            "packer": name,
            "length": length,
            "documents": len(samples),
            "tokens": tokens,
            "seconds": [round(s, 6) for s in seconds[name][1:]],
            "seconds_median": median(seconds[name][1:]),
            "tokens_per_second": tokens / median(seconds[name][1:]),
            "rows": rows[name],
            "rows_over_bound": rows[name] / fewest - 1,
        }
        for name in runs
    ]


def balance(rows: list[Row], ranks: int, each: int) -> dict[str, Any]:
    """Largest over mean cost of a rank, the mean over steps of `each` rows a rank: as packed, and as `balanced`."""
    size = ranks * each
    steps = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    before = [imbalance([cost(row) for row in step], ranks) for step in steps]
    after = [imbalance([cost(step[i]) for i in balanced(step, ranks)], ranks) for step in steps]
    return {"ranks": ranks, "rows_per_rank": each, "before": float(np.mean(before)), "after": float(np.mean(after))}


def shard_balance(rows: list[Row], layout: AbstractLayout, shards: int) -> float:
    """Largest over mean query-key pairs of a sequence-parallel shard, the mean over rows."""
    order = np.asarray(layout.permutation(len(rows[0].tokens), shards))
    each = [shard_costs(row, order, shards) for row in rows]
    return float(np.mean([pairs.max() / pairs.mean() for pairs in each]))


def _dataset(items: list[dict[str, np.ndarray]]) -> Any:
    """The items as a Grain dataset that does nothing else, so that packing alone is measured."""
    import grain

    class Iter(grain.DatasetIterator):
        def __init__(self):
            super().__init__()
            self._next = 0

        def __next__(self):
            if self._next == len(items):
                raise StopIteration
            self._next += 1
            return items[self._next - 1]

        def get_state(self):
            return {"next": self._next}

        def set_state(self, state):
            self._next = state["next"]

    class Items(grain.IterDataset):
        def __iter__(self):
            return Iter()

    return Items()
