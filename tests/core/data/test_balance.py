"""Rows shared out over ranks: as many each, none lost, and close to the best there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data import BestFitPacker, Sample
from lwm_core.data.balance import Balanced, balanced, cost, imbalance, shard_costs, shared_out


def rows(count, seed=0):
    random, packer = np.random.default_rng(seed), BestFitPacker(64, 8)
    state, made = packer.init(), []
    while len(made) < count:
        size = int(random.choice([4, 16, 64, 30]))
        state, complete = packer.push(state, Sample(np.ones(size, np.int32), np.ones(size, np.float32)))
        made += complete
    return made[:count]


@settings(max_examples=60, deadline=None)
@given(costs=st.lists(st.integers(1, 100), min_size=6, max_size=6), ranks=st.sampled_from([1, 2, 3, 6]))
def test_every_rank_gets_as_many_and_the_largest_is_near_the_best(costs, ranks):
    order = shared_out(costs, ranks)
    assert sorted(order) == list(range(6))
    largest = max(np.asarray(costs)[order].reshape(ranks, -1).sum(1))
    orders = itertools.permutations(range(6))
    best = min(max(np.asarray(costs)[list(o)].reshape(ranks, -1).sum(1)) for o in orders)
    assert largest <= best * 4 / 3  # what longest-processing-time promises without the limit on rows


def test_costs_are_pairs_and_balance_lowers_the_largest():
    some = rows(64)
    order = balanced(some, 8)
    before, after = imbalance([cost(r) for r in some], 8), imbalance([cost(some[i]) for i in order], 8)
    assert sorted(order) == list(range(64)) and after < 1.02 < before
    assert balanced(some, 8) == order
    for row in some[:8]:
        pairs = sum(n * (n + 1) // 2 for n in np.bincount(row.segment)[1:].tolist())
        assert pairs == (cost(row) + np.count_nonzero(row.segment)) / 2
        assert shard_costs(row, np.arange(64), 4).sum() == pairs


def test_a_stream_can_be_given_it():
    some = rows(8)
    given_back = Balanced(4)(some)
    assert {id(row) for row in given_back} == {id(row) for row in some}
    with pytest.raises(ValueError, match="8 rows do not divide over 3 ranks"):
        balanced(some, 3)
