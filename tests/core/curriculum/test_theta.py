"""The rules by which the rotary base grows."""

import pytest

from lwm_core.curriculum import PowerLaw, auto_theta, ntk_theta


def test_a_law_is_fitted_exactly_where_there_is_one():
    law = PowerLaw.fit({2**k: 3.0 * (2**k) ** 1.5 for k in (10, 13, 20)})
    assert law.exponent == pytest.approx(1.5) and law.scale == pytest.approx(3.0)
    assert law(2**15) == pytest.approx(3.0 * 2**22.5)


def test_auto_is_the_larger_of_the_law_and_the_floor():
    base = {"base_length": 4096, "base_theta": 1e4, "width": 128}
    floor = ntk_theta(1e4, 8.0, 128)
    assert floor == pytest.approx(1e4 * 8 ** (128 / 126))
    assert auto_theta(32_768, PowerLaw(1.0, 0.5), **base) == floor
    assert auto_theta(32_768, PowerLaw(1.0, 2.0), **base) == 2.0**30


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ntk_theta(1e4, 0.5, 128), "factor=0.5"),
        (lambda: ntk_theta(1e4, 2.0, 2), "width=2"),
        (lambda: PowerLaw.fit({8: 1.0}), "at least two"),
    ],
)
def test_what_means_nothing_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
