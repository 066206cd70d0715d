"""Counted pairs and shares against brute force, and the check that every time carries against known faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.attention import DenseAttention, TokenCoords, Visibility
from lwm_core.attention.pairs import attended_pairs
from lwm_core.bench import CASES, Case
from lwm_core.bench.counts import flops, imbalance, work_by_shard
from lwm_core.bench.truth import Truth
from lwm_core.layout import Contiguous, Striped, Zigzag


rules = st.builds(Visibility, st.none() | st.integers(1, 7), st.none() | st.integers(1, 9))


@st.composite
def coordinates(draw):
    """(position, segment) of packed rows with padding, in any order of slots."""
    rows, length = draw(st.integers(1, 2)), draw(st.integers(1, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    segment = np.sort(random.integers(0, 4, (rows, length)), axis=1)
    position = np.stack([[list(row[: i + 1]).count(row[i]) - 1 for i in range(length)] for row in segment])
    order = random.permutation(length)
    return position[:, order], segment[:, order]


@settings(max_examples=60, deadline=None)
@given(coordinates(), rules)
def test_pairs_are_those_of_the_mask(at, rule):
    coords = TokenCoords(*(jnp.asarray(x, jnp.int32) for x in at))
    mask = np.asarray(rule.mask(coords, coords))
    assert (attended_pairs(*at, rule) == mask.sum(axis=-1)).all()


@settings(max_examples=40, deadline=None)
@given(coordinates(), rules, st.integers(1, 5))
def test_shards_share_exactly_the_pairs(at, rule, shards):
    pairs = attended_pairs(*at, rule).sum(axis=0)
    work = work_by_shard(*at, rule, shards)
    size = -(-len(pairs) // shards)
    assert work.tolist() == [pairs[r * size : (r + 1) * size].sum() for r in range(shards)]


def test_zigzag_balances_causal_rows_and_contiguous_order_does_not():
    def share(layout, shards):
        inputs = Case("rows", "", length=512).inputs()
        order = layout.permutation(512, shards)
        return imbalance(work_by_shard(inputs.position[:, order], inputs.segment[:, order], Visibility(), shards))

    assert share(Zigzag(), 8) == pytest.approx(1, abs=1e-9)
    assert share(Striped(), 8) < 1.02
    assert share(Contiguous(), 4) == pytest.approx(1.75, rel=0.01)


def test_operations_of_a_causal_row():
    assert flops(8192 * 8193 // 2, 4, 64, backward=False) == 2 * 2 * 4 * 64 * 33558528
    assert flops(10, 4, 64, backward=True) == 3.5 * flops(10, 4, 64, backward=False)


@pytest.mark.parametrize("name", CASES)
def test_documents_of_a_case_fill_its_row(name):
    case = CASES[name].at(416)
    inputs = case.inputs()
    assert inputs.q.shape == (case.batch, 416, case.heads, case.head_dim)
    assert inputs.segment.max() == len(case.documents) and inputs.segment.min() == 1
    starts = np.flatnonzero(inputs.position[0] == 0)
    assert len(starts) == len(case.documents)


def test_too_short_a_row_is_refused():
    with pytest.raises(ValueError, match="'documents-32' needs a length of at least 32, and got 16"):
        CASES["documents-32"].at(16)


def test_the_truth_agrees_with_dense_attention_and_catches_a_missing_mask():
    case = Case("small", "", length=48, heads=4, kv_heads=2, head_dim=8, documents=(1, 2), window=4)
    inputs = case.inputs()
    truth = Truth(case, inputs)
    at = TokenCoords(jnp.asarray(inputs.position), jnp.asarray(inputs.segment))

    def out(q, rule):
        k, v = jnp.asarray(inputs.k), jnp.asarray(inputs.v)
        return DenseAttention()(q, k, v, q_at=at, kv_at=at, rule=rule)

    q = jnp.asarray(inputs.q)
    assert truth.error(np.asarray(out(q, case.rule)), backward=False) < 1e-5
    assert truth.error(np.asarray(out(q, Visibility())), backward=False) > 0.1
    dq = jax.grad(lambda q: (out(q, case.rule) * inputs.dout).sum())(q)
    assert truth.error(np.asarray(dq), backward=True) < 1e-5
