"""Packers: nothing lost, state exact, weights by rule, and rows close to the fewest that are possible."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data import BestFitPacker, FirstFitPacker, PaddingPacker, QuotaPacker, Sample, SequentialPacker
from lwm_core.testing.packer import LONG, check_packer


PACKERS = {
    "continue": lambda n, w: SequentialPacker(n, "continue", w),
    "long": lambda n, w: SequentialPacker(n, "long", w),
    "skip": lambda n, w: SequentialPacker(n, "skip", w),
    "padding": lambda n, w: PaddingPacker(n, "long", w),
    "first-fit": lambda n, w: FirstFitPacker(n, 3, "long", w),
    "best-fit": lambda n, w: BestFitPacker(n, 4, "long", w),
    "best-fit-1": lambda n, w: BestFitPacker(n, 1, "error", w),
    "quota": lambda n, w: QuotaPacker(n, BestFitPacker(8, 2, "long", w), 0.7),
}


@pytest.mark.parametrize("name", PACKERS)
@settings(max_examples=8, deadline=None)
@given(length=st.integers(2, 40), seed=st.integers(0, 2**31), weighting=st.sampled_from(["token", "example", "sqrt"]))
def test_every_packer_conforms(name, length, seed, weighting):
    check_packer(PACKERS[name](length, weighting), seed=seed)


SAMPLES = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.25, 1.0, None])), min_size=1, max_size=40)


@pytest.mark.parametrize("name", ["continue", "first-fit", "best-fit", "quota"])
@settings(max_examples=15, deadline=None)
@given(drawn=SAMPLES, length=st.integers(2, 30))
def test_any_samples_pack(name, drawn, length):
    """Runs of long ones, all alike, all short, without loss: whatever hypothesis thinks of."""
    stops = np.cumsum([size for size, _ in drawn])
    samples = [
        Sample(np.arange(stop - n, stop, dtype=np.int32), np.full(n, w, np.float32) if w is not None else ramp(n))
        for (n, w), stop in zip(drawn, stops.tolist(), strict=True)
    ]
    check_packer(PACKERS[name](length, "example"), samples=samples)


def ramp(count):
    return np.linspace(0, 1, count, dtype=np.float32)


def samples_of(sizes, rate=1.0):
    random = np.random.default_rng(0)
    return [
        Sample(np.arange(n, dtype=np.int32), (random.random(n) < rate).astype(np.float32), f"s{i}")
        for i, n in enumerate(sizes)
    ]


def pack(packer, samples):
    state, rows = packer.init(), []
    for sample in samples:
        state, complete = packer.push(state, sample)
        rows += complete
    return rows + packer.flush(state)[1]


def weights(rows):
    """The weight of every segment."""
    return np.concatenate([np.bincount(r.segment, r.loss)[1:] for r in rows if r.segment.any()])


@pytest.mark.parametrize("make", [lambda w: SequentialPacker(64, "long", w), lambda w: BestFitPacker(64, 2, "long", w)])
def test_weights_are_those_of_unpacked_rows(make):
    """A packed segment weighs what it weighs alone in a padded row: 1, its loss tokens, or their root."""
    samples = samples_of([10, 30, 60, 5, 17, 33, 64, 2], rate=0.5)
    count = np.array([s.loss[1:].sum() for s in samples])
    for weighting, expected in {"token": count, "example": count > 0, "sqrt": np.sqrt(count)}.items():
        packed, padded = pack(make(weighting), samples), pack(PaddingPacker(64, weighting=weighting), samples)
        assert len(packed) < len(padded)
        np.testing.assert_allclose(weights(padded), expected, rtol=1e-6)
        np.testing.assert_allclose(np.sort(weights(packed)), np.sort(expected), rtol=1e-6)


def test_continue_leaves_no_padding_and_long_leaves_samples_whole():
    samples = samples_of([5, 9, 3, 20, 7])
    filled = pack(SequentialPacker(8), samples)
    assert all(row.segment.all() for row in filled[:-1]) and len(filled) == 6
    whole = pack(SequentialPacker(20, "long"), samples)
    assert sum(row.segment.max() for row in whole) == len(samples)


def test_no_sample_waits_for_ever_in_a_best_fit_buffer():
    """An awkward sample leaves although every later one packs better."""
    packer = BestFitPacker(100, buffer=2)
    state, _ = packer.push(packer.init(), Sample(np.full(61, 7, np.int32), np.ones(61, np.float32)))
    for _ in range(20):
        state, rows = packer.push(state, samples_of([50])[0])
        if any((row.tokens == 7).any() for row in rows):
            return
    raise AssertionError("the sample is still waiting")


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: SequentialPacker(1), "length=1"),
        (lambda: BestFitPacker(8, buffer=0), "buffer=0"),
        (lambda: FirstFitPacker(8, window=0), "window=0"),
        (lambda: QuotaPacker(8, BestFitPacker(8), share=1.5), "share=1.5"),
        (lambda: QuotaPacker(1, BestFitPacker(8)), "length=1"),
    ],
)
def test_options_that_cannot_work_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_samples_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="Sample s0 has 9 tokens, the row 8"):
        pack(PaddingPacker(8, "error"), samples_of([9]))
    with pytest.raises(ValueError, match="Sample s0 has 0 tokens"):
        pack(SequentialPacker(8), samples_of([0]))
    with pytest.raises(ValueError, match="Sample long has 9 tokens and 2 loss weights"):
        pack(SequentialPacker(8), [Sample(np.arange(9, dtype=np.int32), np.ones(2, np.float32), "long")])
    for wrong in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="Sample odd has a loss weight that is negative or not finite"):
            pack(
                SequentialPacker(8), [Sample(np.arange(3, dtype=np.int32), np.array([1, 1, wrong], np.float32), "odd")]
            )
    with pytest.raises(ValueError, match="Sample flat has 2 tokens and 2 loss weights, of shapes"):
        pack(SequentialPacker(8), [Sample(np.ones((2, 2), np.int32), np.ones((2, 2), np.float32), "flat")])
    with pytest.raises(ValueError, match="Sample real has ids of float64"):
        pack(SequentialPacker(8), [Sample(np.ones(3), np.ones(3, np.float32), "real")])


@pytest.mark.parametrize("make", [SequentialPacker, FirstFitPacker, BestFitPacker, PaddingPacker])
def test_what_is_skipped_is_counted_through_flush(make):
    packer = make(8, cut="skip")
    state = packer.init()
    for sample in samples_of([3, 9, 8, 20]):
        state, _ = packer.push(json.loads(json.dumps(state)), sample)
    assert state["skipped"] == {"samples": 2, "tokens": 29}
    assert packer.flush(state)[0]["skipped"] == {"samples": 2, "tokens": 29}


def test_every_id_survives_json():
    """Also those that are no character, end files or lines, or mark byte order."""
    ids = np.concatenate([np.arange(0x110000 + 9), [2**31 - 1, -(2**31), -1, 2**28]]).astype(np.int32)
    for part in (ids, ids[:0xD800], ids[0xE000:0x110000], ids[0xFEFE:0xFF02]):
        packer = BestFitPacker(len(part) + 1)
        state = packer.push(packer.init(), Sample(part, np.ones(len(part), np.float32)))[0]
        (row,) = packer.flush(json.loads(json.dumps(state)))[1]
        assert np.array_equal(row.tokens[:-1], part)


@dataclass(frozen=True)
class Loses(SequentialPacker):
    def flush(self, state):
        return self.init(), []


@dataclass(frozen=True)
class Mutates(SequentialPacker):
    def push(self, state, sample):
        state["filled"] += 0
        state["seen"] = state.get("seen", 0) + 1
        return SequentialPacker.push(self, state, sample)


@dataclass(frozen=True)
class Shares(SequentialPacker):
    """Appends to lists that older states hold too."""

    def push(self, state, sample):
        after, rows = SequentialPacker.push(self, state, sample)
        if state["blocks"] and after["blocks"]:
            state["blocks"][:] = after["blocks"]
            after["blocks"] = state["blocks"]
        return after, rows


@dataclass(frozen=True)
class Forgets(SequentialPacker):
    def push(self, state, sample):
        return (state, []) if sample.name == LONG else SequentialPacker.push(self, state, sample)


@dataclass(frozen=True)
class Weighs(SequentialPacker):
    def push(self, state, sample):
        return SequentialPacker(self.length, self.cut, "sqrt").push(state, sample)


@dataclass(frozen=True)
class CrossesBoundaries(SequentialPacker):
    def push(self, state, sample):
        state, rows = SequentialPacker.push(self, state, sample)
        for row in rows:
            row.loss[:] = 1.0
        return state, rows


@pytest.mark.parametrize(
    "broken, message",
    [
        (Loses, "lost"),
        (Mutates, "changed the state"),
        (Shares, "changed the state"),
        (Forgets, "does not count"),
        (Weighs, "does not weigh"),
        (CrossesBoundaries, "first token"),
    ],
)
def test_the_kit_catches(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_packer(broken(16))


@pytest.mark.parametrize("use", [SequentialPacker, FirstFitPacker, BestFitPacker])
def test_a_state_of_longer_rows_is_refused(use):
    state, _ = use(8).push(use(8).init(), Sample(np.arange(6, dtype=np.int32), np.ones(6, np.float32)))
    with pytest.raises(ValueError, match="of a packer with longer rows"):
        use(4).flush(state)
