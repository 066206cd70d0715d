"""Who serves the source furthest behind keeps every share to within one serving, whatever servings are."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data.mixture import Mixture


def served_by(mixture, sizes, until):
    """What each source was served by the rule, and after every serving; `sizes` gives the k-th serving of each."""
    served = [0] * len(mixture.weights)
    counts = [0] * len(served)
    while sum(served) < until:
        at = mixture.furthest_behind(served)
        served[at] += sizes[at][counts[at] % len(sizes[at])]
        counts[at] += 1
        yield served


SOURCES = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(1, 50), min_size=1, max_size=4)), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None)
@given(SOURCES)
def test_shares_are_kept_within_a_serving_of_any_size(sources):
    parts = [part for part, _ in sources]
    mixture = Mixture.of({f"s{i}": part / sum(parts) for i, part in enumerate(parts)})
    largest = max(max(sizes) for _, sizes in sources)
    for served in served_by(mixture, [sizes for _, sizes in sources], 20 * largest):
        for had, part in zip(served, parts, strict=True):
            assert had <= Fraction(part, sum(parts)) * sum(served) + largest + 1


def test_one_document_of_a_hundred_thousand_against_many_of_fifty():
    *_, served = served_by(Mixture.of({"long": 0.5, "short": 0.5}), [[100_000], [50]], 500_000)
    assert abs(served[0] - served[1]) <= 100_000


def test_by_ones_a_period_is_exact_and_interleaved():
    mixture = Mixture.of({"chat": 0.7, "qa": 0.3})
    rows = [served.copy() for served in served_by(mixture, [[1], [1]], 1000)]
    assert all(row == [7 * k, 3 * k] for k, row in enumerate(rows[9::10], 1))
    steps = [b[1] - a[1] for a, b in zip(rows, rows[4:], strict=False)]
    assert min(steps) >= 1, "four draws in a row without one of the smaller share"


@pytest.mark.parametrize(
    "shares, message",
    [
        ({"a": 0.5, "b": 0.4}, "Stage 'x': the shares a = 0.5, b = 0.4 sum to 0.9, not 1.*a = 0.5556"),
        ({"a": 1.0, "b": 0.0}, "Stage 'x': the share of 'b' is 0.0: give a number above 0"),
        ({"a": 1.0, "b": -0.5}, "the share of 'b' is -0.5"),
        ({"a": float("nan")}, "the share of 'a' is nan"),
        ({}, "Stage 'x': a mixture of nothing"),
    ],
)
def test_shares_that_are_none_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        Mixture.of(shares, "Stage 'x'")
