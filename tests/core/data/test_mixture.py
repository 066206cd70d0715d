"""Shares are met exactly, at every moment within one draw."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data.mixture import Mixture


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_shares_are_exact_over_a_period_and_never_a_draw_ahead(parts):
    shares = {f"s{i}": part / sum(parts) for i, part in enumerate(parts)}
    mixture = Mixture(shares)
    counts = Counter()
    for draw in range(2 * sum(parts)):
        name, place = mixture[draw]
        assert place == counts[name], "the place is how often the source was drawn before"
        counts[name] += 1
        assert counts[name] < shares[name] * (draw + 1) + 1 + 1e-9
    assert [counts[name] for name in shares] == [2 * part for part in parts]


def test_seventy_thirty_is_interleaved_not_blocked():
    mixture = Mixture({"chat": 0.7, "qa": 0.3})
    names = [mixture[k][0] for k in range(1000)]
    gaps = np.diff([k for k, name in enumerate(names) if name == "qa"])
    assert names.count("qa") == 300 and gaps.max() <= 4


@pytest.mark.parametrize(
    "shares, message",
    [
        ({"a": 0.5, "b": 0.4}, "a = 0.5, b = 0.4 sum to 0.9"),
        ({"a": 1.0, "b": 0.0}, "above 0"),
        ({}, "nothing"),
        ({"a": 1 / 101, "b": 1 / 103, "c": 1 / 107, "d": 1 - 1 / 101 - 1 / 103 - 1 / 107}, "up to 4 decimals"),
    ],
)
def test_shares_that_are_none_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        Mixture(shares)
