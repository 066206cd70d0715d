"""Conformance kit for packers: `check_packer(packer)`. Owns no test runner and needs none."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lwm_core.data import Packer, Row, Sample
from lwm_core.data.weighting import POWER


LONG = "the long one"


def check_packer(packer: Packer, *, samples: Sequence[Sample] | None = None, seed: int = 0) -> None:
    """Raises `AssertionError` unless the packer keeps its contract.

    No token is lost, doubled or out of order within a sample, but a sample that the packer skips, which its state
    counts; rows have the promised form, and weights that follow the sample's (exactly, where the packer has a
    `weighting`). The state is JSON; after every push it goes on from a trip through JSON exactly, and so do states from
    long before; `flush` leaves what `init` gives. Give `samples` whose tokens are all different and rise, or let the
    kit draw some around the packer's length.
    """
    samples = list(samples or random_samples(packer, seed))
    rows, state = [], packer.init()
    before = _plain(state)
    passed: list[tuple[Any, Sample, list[Row]]] = []
    for sample in samples:
        after, complete = packer.push(state, sample)
        assert _plain(state) == before, "push changed the state it was given; return a new one."
        again, repeated = packer.push(json.loads(before), sample)
        assert _plain(again) == _plain(after), "The state does not survive JSON: a copy went on differently."
        assert _same(repeated, complete), "The state does not survive JSON: a copy gave other rows."
        passed.append((state, sample, complete))
        state, rows, before = after, rows + complete, _plain(after)
    end, rest = packer.flush(state)
    assert _plain(state) == before, "flush changed the state it was given; return a new one."
    assert _same(packer.flush(json.loads(before))[1], rest), "The state does not survive JSON: flush gave other rows."
    assert _plain(end) == _plain(packer.init()), "flush leaves a state that differs from init()."
    for old, sample, complete in passed[::5]:
        assert _same(packer.push(old, sample)[1], complete), "An old state has changed since: it gave other rows."
    rows += rest
    for row in rows:
        check_row(row, packer.length)
    _check_tokens(rows, samples, getattr(packer, "weighting", None))


def random_samples(packer: Packer, seed: int) -> list[Sample]:
    """Samples of 1 to 3 rows' length with tokens all different; none over a row where the packer does not cut it.

    Some ids are those of no character (0xD800), and some need all of int32.
    """
    random = np.random.default_rng(seed)
    length = packer.length
    most = 3 * length if _cuts(packer) else length
    drawn = [*random.integers(1, length, 24).tolist(), *random.integers(1, most, 6).tolist()]
    sizes = [1, 2, length - 1, length, most, *drawn]
    stops = 0xD7F0 + np.cumsum(sizes)
    return [
        Sample(np.arange(stop - n, stop, dtype=np.int32) + (i % 4 << 29), _loss(random, n), f"sample {i}")
        for i, (n, stop) in enumerate(zip(sizes, stops, strict=True))
    ]


def check_row(row: Row, length: int) -> None:
    """Form of one row: segments 1, 2, ... without gaps, positions restarted, first tokens and padding unweighted."""
    for name, kind in {"tokens": np.int32, "segment": np.int32, "position": np.int32, "loss": np.float32}.items():
        array = getattr(row, name)
        assert array.shape == (length,), f"Row.{name} has shape {array.shape}; the packer's length is {length}."
        assert array.dtype == kind, f"Row.{name} is {array.dtype}, not {np.dtype(kind)}."
    filled = int((row.segment > 0).sum())
    assert filled and not row.segment[filled:].any(), "A row is empty, or has padding before its end."
    steps = np.diff(row.segment[:filled], prepend=0)
    assert ((steps == 0) | (steps == 1)).all() and row.segment[0] == 1, "Segments are not 1, 2, 3, ... in order."
    starts = np.flatnonzero(steps)
    expected = np.arange(filled) - np.repeat(starts, np.diff(starts, append=filled))
    assert np.array_equal(row.position[:filled], expected), "Positions do not restart at 0 with every segment."
    for name in ("tokens", "position", "loss"):
        assert not getattr(row, name)[filled:].any(), f"Row.{name} is not 0 where there is padding."
    assert not row.loss[starts].any(), "The first token of a segment is a target; nothing precedes it."
    assert np.isfinite(row.loss).all() and (row.loss >= 0).all(), "A loss weight is negative or not finite."


def _check_tokens(rows: Sequence[Row], samples: Sequence[Sample], weighting: str | None) -> None:
    owner = {int(token): i for i, sample in enumerate(samples) for token in sample.tokens}
    found: list[list[np.ndarray]] = [[] for _ in samples]
    for row in rows:
        for segment in range(1, int(row.segment.max()) + 1):
            at = np.flatnonzero(row.segment == segment)
            sample = owner.get(int(row.tokens[at[0]]))
            assert sample is not None, f"A row holds token {row.tokens[at[0]]}, which no sample has."
            found[sample].append(row.tokens[at])
            _check_weights(row.loss[at], row.tokens[at], samples[sample], weighting)
    for sample, pieces in zip(samples, found, strict=True):
        together = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
        assert np.array_equal(together, sample.tokens), (
            f"{sample.name or 'A sample'} has {len(sample)} tokens and the rows {len(together)} of it: tokens "
            "were lost, doubled, or put out of order."
        )


def _check_weights(weights: np.ndarray, tokens: np.ndarray, sample: Sample, weighting: str | None) -> None:
    if not np.isin(tokens, sample.tokens).all():
        return  # reported as a loss of tokens
    given = sample.loss[np.searchsorted(sample.tokens, tokens)].astype(np.float64)
    given[0] = 0.0
    if not given.any():
        assert not weights.any(), f"{sample.name}: tokens without loss have weights."
        return
    np.testing.assert_allclose(
        weights / weights.sum(), given / given.sum(), rtol=1e-5, err_msg="Weights do not follow the sample's loss."
    )
    if weighting in POWER:
        found, rule = float(weights.sum(dtype=np.float64)), given.sum() ** (1 + POWER[weighting])
        np.testing.assert_allclose(found, rule, rtol=1e-5, err_msg=f"A segment does not weigh what {weighting!r} says.")


def _cuts(packer: Packer) -> bool:
    """Whether a sample longer than a row is cut; if not, it is refused by name, or left out and counted."""
    size = packer.length + 1
    sample = Sample(np.arange(1, size + 1, dtype=np.int32), np.ones(size, np.float32), LONG)
    try:
        state, rows = packer.push(packer.init(), sample)
    except ValueError as error:
        assert LONG in str(error), f"A refused sample is not named: {error}"
        return False
    end, rest = packer.flush(state)
    if rows or rest:
        return True
    assert _plain(state) != _plain(packer.init()), "A sample was left out, and the state does not count it."
    assert _plain(end) == _plain(state), "flush forgot how many samples were left out."
    return False


def _loss(random: np.random.Generator, count: int) -> np.ndarray:
    constant = np.ones(count, np.float32)
    answers = (random.random(count) < 0.3).astype(np.float32)
    return [constant, answers, np.zeros(count, np.float32)][random.choice(3, p=[0.4, 0.5, 0.1])]


def _plain(state: Any) -> str:
    try:
        return json.dumps(state, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"The packer's state is not plain JSON: {error}.") from error


def _same(some: Sequence[Row], others: Sequence[Row]) -> bool:
    names = ("tokens", "segment", "position", "loss")
    return len(some) == len(others) and all(
        np.array_equal(getattr(a, n), getattr(b, n)) for a, b in zip(some, others, strict=True) for n in names
    )
