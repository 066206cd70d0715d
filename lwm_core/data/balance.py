"""Rows of a step shared out so that every rank has as much attention to compute.

Owns the rule and the cost. Who asks for it is the stream's business (`arrange`). Packed rows of one length do not cost
the same: a segment of n tokens costs n² / 2, so a row of one document costs as much as hundreds of short ones together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwm_core.data.base import Row


def cost(row: Row) -> int:
    """Σ n² over the row's segments: twice its causal query-key pairs, to within its length."""
    return int((np.bincount(row.segment)[1:].astype(np.int64) ** 2).sum())


def balanced(rows: Sequence[Row], ranks: int) -> list[int]:
    """The order of the rows in which rank r's are r·k ... (r+1)·k - 1, of k each, and the largest cost is small.

    The costliest row first to the rank with the least so far that still has a place (longest processing time). Ranks,
    and rows within a rank, are in their old order. With `ranks` = steps · ranks, the rows of several steps are shared
    out over all. Raises `ValueError` when the rows do not divide.
    """
    return shared_out([cost(row) for row in rows], ranks)


def shared_out(costs: Sequence[int], ranks: int) -> list[int]:
    """`balanced`, from the costs."""
    if ranks < 1 or len(costs) % ranks:
        raise ValueError(f"{len(costs)} rows do not divide over {ranks} ranks: use a multiple of {ranks} rows a step.")
    places = len(costs) // ranks
    shares: list[list[int]] = [[] for _ in range(ranks)]
    totals = [0] * ranks
    for row in sorted(range(len(costs)), key=lambda i: -costs[i]):
        rank = min((r for r in range(ranks) if len(shares[r]) < places), key=lambda r: totals[r])
        shares[rank].append(row)
        totals[rank] += costs[row]
    _swap(shares, costs, totals)
    return [row for share in sorted(sorted(share) for share in shares) for row in share]


def shard_costs(row: Row, order: np.ndarray, shards: int) -> np.ndarray:
    """int64 [shards]: query-key pairs of each sequence-parallel shard, when slot i of the row holds token order[i]."""
    pairs = np.where(row.segment > 0, row.position.astype(np.int64) + 1, 0)
    return pairs[order].reshape(shards, -1).sum(1)


def imbalance(costs: Sequence[int], ranks: int) -> float:
    """The largest sum of a rank's costs over the mean: how much longer a step takes than it need."""
    totals = np.asarray(costs, np.float64).reshape(ranks, -1).sum(1)
    return float(totals.max() / totals.mean())


@dataclass(frozen=True)
class Balanced:
    """What `Stream(arrange=...)` asks for: the rows of each step in `balanced` order for so many ranks."""

    ranks: int

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        return [rows[index] for index in balanced(rows, self.ranks)]


def _swap(shares: list[list[int]], costs: Sequence[int], totals: list[int]) -> None:
    """Swaps rows of the costliest rank for cheaper ones elsewhere while that lowers the larger of the two sums."""
    while True:
        worst = max(range(len(shares)), key=lambda r: totals[r])
        best = totals[worst], 0, 0, 0
        for mine, row in enumerate(shares[worst]):
            for rank, share in enumerate(shares):
                for its, other in enumerate(share):
                    gain = costs[row] - costs[other]
                    larger = max(totals[worst] - gain, totals[rank] + gain)
                    if gain > 0 and larger < best[0]:
                        best = larger, mine, rank, its
        larger, mine, rank, its = best
        if larger == totals[worst]:
            return
        gain = costs[shares[worst][mine]] - costs[shares[rank][its]]
        shares[worst][mine], shares[rank][its] = shares[rank][its], shares[worst][mine]
        totals[worst] -= gain
        totals[rank] += gain
