"""Layouts are permutations, balance causal work as they claim, and refuse with the lengths that would do."""

import numpy as np
import pytest

from lwm_core.attention import Visibility
from lwm_core.bench import CASES
from lwm_core.bench.counts import imbalance, work_by_shard
from lwm_core.layout import Contiguous, Striped, Zigzag
from lwm_core.testing.layout import check_layout


LAYOUTS = [Contiguous(), Zigzag(), Striped(), Striped(stripe=3)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_conform(layout):
    check_layout(layout)


def test_zigzag_puts_an_early_and_a_late_chunk_on_each_shard():
    assert Zigzag().permutation(12, 3).tolist() == [0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7]


def test_stripes_are_dealt_in_turn():
    assert Striped(2).permutation(8, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


@pytest.mark.parametrize(("layout", "most"), [(Contiguous(), 1.88), (Zigzag(), 1.0001), (Striped(), 1.02)])
def test_causal_work_of_the_busiest_shard(layout, most):
    """Pairs that shard r attends to, over the mean: what a balanced layout is for."""
    work = (layout.permutation(1024, 8) + 1).reshape(8, -1).sum(axis=1)
    assert work.max() / work.mean() <= most
    assert work.max() / work.mean() > most - 0.02


@pytest.mark.parametrize(
    ("case", "layout", "most"),
    [
        ("ring-4", Zigzag(), 1.0001),
        ("ring-8", Zigzag(), 1.0001),
        ("ring-4-documents-8", Zigzag(), 1.0001),
        ("ring-4-mixture", Striped(128), 1.06),
        ("ring-4-mixture", Striped(), 1.003),
    ],
)
def test_counted_work_of_the_busiest_shard(case, layout, most):
    """Attended pairs, exactly counted: at most 1.02 of the mean for one document, 1.10 for a packed mixture."""
    case = CASES[case]
    inputs, order = case.inputs(), layout.permutation(case.length, case.devices)
    work = work_by_shard(inputs.position[:, order], inputs.segment[:, order], case.rule, case.devices)
    assert imbalance(work) <= most


def test_stripes_of_a_kernel_block_balance_random_mixtures_and_still_skip_blocks():
    """Documents of log-normal lengths in 65536 tokens over 8 shards: pairs within a tenth of the mean, and blocks
    visited within a tenth of those that the row's own order would visit."""
    random, length, shards = np.random.default_rng(0), 65536, 8
    for _ in range(5):
        lengths = np.exp(random.normal(7, 1.5, 400)).astype(int) + 1
        ends = np.minimum(np.cumsum(lengths), length)
        lengths = np.diff(ends, prepend=0)
        position = np.concatenate([np.arange(n) for n in lengths])[None]
        segment = np.repeat(np.arange(1, len(lengths) + 1), lengths)[None]
        order = Striped(128).permutation(length, shards)
        rows = position[:, order], segment[:, order]
        assert imbalance(work_by_shard(*rows, Visibility(), shards)) <= 1.10
        assert visits(*rows) <= 1.1 * visits(position, segment)
        assert visits(*(x[:, Striped().permutation(length, shards)] for x in (position, segment))) > 1.1 * visits(*rows)


def visits(position, segment, block=128) -> int:
    """Block pairs that a causal kernel looks at: the last query of a block reaches the first key of another."""
    key, segment = (segment * 2**32 + position).reshape(-1, block), segment.reshape(-1, block)
    late, early = key.max(axis=1)[:, None], key.min(axis=1)[None]
    meet = segment.max(axis=1)[None] >= segment.min(axis=1)[:, None]
    return int(((early <= late) & meet).sum())


@pytest.mark.parametrize(
    ("layout", "length", "words"),
    [
        (Zigzag(), 100, "multiple of 8, and got 100: use 96 or 104"),
        (Striped(4), 20, "multiple of 16, and got 20: use 16 or 32"),
        (Contiguous(), 3, "multiple of 4, and got 3: use 4"),
    ],
)
def test_a_refusal_names_lengths_that_would_do(layout, length, words):
    with pytest.raises(ValueError, match=words):
        layout.permutation(length, 4)


def test_bad_stripes_and_shards():
    with pytest.raises(ValueError, match="positive"):
        Striped(0)
    with pytest.raises(ValueError, match="at least 1"):
        Zigzag().permutation(8, 0)


def test_a_permutation_and_its_inverse_undo_each_other():
    order = Zigzag().permutation(24, 3)
    row = np.arange(100, 124)
    assert np.array_equal(row[order][np.argsort(order)], row)
