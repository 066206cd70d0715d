"""Packers on documents of real lengths: few rows, a fair order, a share of long documents, and best fit as defined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.bench.packing import documents, lengths, rows_of
from lwm_core.data import BestFitPacker, FirstFitPacker, QuotaPacker, Sample, SequentialPacker
from lwm_core.data.fitting import best_fit


SLOW = pytest.mark.slow


@pytest.mark.parametrize("length", [8192, *(pytest.param(n, marks=SLOW) for n in (1024, 2048, 32768, 131072))])
def test_best_fit_needs_one_row_in_a_hundred_more_than_the_fewest(length):
    """On 100,000 documents; and only those longer than a row are cut."""
    samples = documents(int(lengths().sum()))
    rows = segments = 0
    for row in rows_of(BestFitPacker(length), samples):
        rows, segments = rows + 1, segments + int(row.segment[np.count_nonzero(row.segment) - 1])
    assert len(samples) == 100_000
    assert rows <= 1.01 * -(-sum(map(len, samples)) // length)
    assert segments == sum(-(-len(sample) // length) for sample in samples), "one that fits in a row was cut"


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=80))
def test_best_fit_decreasing_is_what_its_definition_says(sizes):
    rooms = []
    for size in sorted(sizes, reverse=True):
        room = min((room for room in rooms if room >= size), default=None)
        if room is not None:
            rooms.remove(room)
        rooms.append((30 if room is None else room) - size)
    fit = best_fit(sizes, 30)
    rows = [fit.row(index) for index in range(len(fit.stops))]
    assert sorted(30 - sum(sizes[piece] for piece in row) for row in rows) == sorted(rooms)
    assert sorted(piece for row in rows for piece in row) == list(range(len(sizes)))
    assert rows == sorted(sorted(row) for row in rows)


def test_best_fit_finds_rows_among_thousands():
    """More open rows than a block of the sorted list holds."""
    sizes = [*range(5001, 9001), *range(999, 4999)]
    fit = best_fit(np.random.default_rng(0).permutation(sizes), 10_000)
    assert len(fit.stops) == 4000 and set(np.diff(fit.stops, prepend=0)) == {2}


def plain(size, weight=1.0):
    return Sample(np.zeros(size, np.int32), np.full(size, weight, np.float32))


@pytest.mark.parametrize("packer", [BestFitPacker(100), FirstFitPacker(100)], ids=lambda p: type(p).__name__)
def test_neither_long_nor_short_documents_leave_first(packer):
    """Half of the tokens come in documents of four rows, half in documents of a tenth of one, from the start on."""
    rows, state = [], packer.init()
    while len(rows) < 24:
        for size in [400, *[10] * 40]:
            state, complete = packer.push(state, plain(size))
            rows += complete
    alone = sum(int(row.segment.max() == 1) for row in rows[:24])
    assert 8 <= alone <= 16, f"{alone} of the first 24 rows are of long documents"


def test_pieces_of_a_document_leave_in_order_while_others_wait():
    random, packer = np.random.default_rng(3), BestFitPacker(50, 6)
    seen: dict[int, int] = {}
    samples = [
        np.full(n, i, np.int32) for i, n in enumerate(random.choice([3, 20, 26, 49, 50, 120, 260], 300).tolist())
    ]
    for row in rows_of(packer, [Sample(ids, np.linspace(0.5, 1, len(ids)).astype(np.float32)) for ids in samples]):
        for segment in range(1, int(row.segment.max()) + 1):
            at = row.segment == segment
            document, last = int(row.tokens[at][0]), float(row.loss[at][-1])
            assert last >= seen.get(document, 0), "a later piece left before an earlier one"
            seen[document] = last
    assert len(seen) == 300


def test_a_quota_keeps_the_share_of_long_documents():
    packer = QuotaPacker(100, SequentialPacker(100), share=0.6, at_least=80, wait=3)
    state, long, short = packer.init(), 0, 0
    random = np.random.default_rng(0)
    for size in random.choice([90, 20, 15], 400, p=[0.3, 0.5, 0.2]).tolist():
        state, rows = packer.push(state, plain(size))
        for row in rows:
            sizes = np.bincount(row.segment)[1:]
            long += int(sizes[sizes > 20].sum())  # pieces of the long ones, but for ends that a border cut off
            short += int(sizes[sizes <= 20].sum())
        assert state["long"] >= 0.6 * (state["long"] + state["short"])
    assert 0.5 < long / (long + short) < 0.75 and state["held"] <= 300


def test_too_many_short_documents_are_an_error_or_counted():
    with pytest.raises(ValueError, match="30 tokens of short samples wait.*surplus='skip'"):
        list(rows_of(QuotaPacker(10, SequentialPacker(10), wait=3), [plain(3)] * 11))
    packer = QuotaPacker(10, SequentialPacker(10), wait=3, surplus="skip")
    state = packer.init()
    for _ in range(12):
        state, _ = packer.push(state, plain(3))
    assert state["skipped"] == {"samples": 2, "tokens": 6}
    assert sum(int((row.segment > 0).sum()) for row in packer.flush(state)[1]) == 30


def test_what_the_inner_packer_refuses_is_refused_when_it_comes():
    packer = QuotaPacker(10, BestFitPacker(10, cut="error"), at_least=20)
    with pytest.raises(ValueError, match="has 12 tokens, the row 10"):
        packer.push(packer.init(), plain(12))
