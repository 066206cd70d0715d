"""Kinds kept apart: the packer's contract, rows of one group, and groups that are none."""

import numpy as np
import pytest

from lwm_core.data import BestFitPacker, Sample, SequentialPacker
from lwm_core.data.apart import ApartPacker, Grouped
from lwm_core.testing.packer import check_packer, random_samples


@pytest.mark.parametrize(
    "inner", [SequentialPacker(8), BestFitPacker(64, 2), BestFitPacker(24, 2, "error"), BestFitPacker(24, 2, "skip")]
)
def test_it_keeps_the_contract_of_packers_for_samples_of_several_sources(inner):
    packer = ApartPacker(24, inner, {"chat": ("a", "b")})
    assert isinstance(packer, Grouped)
    samples = [Sample(s.tokens, s.loss, s.name, "abc"[i % 3]) for i, s in enumerate(random_samples(packer, 3))]
    check_packer(packer, samples=samples)
    check_packer(packer)


def test_no_row_holds_two_groups():
    packer = ApartPacker(24, SequentialPacker(24), {"chat": ("a", "b")})
    state, rows = packer.init(), []
    for i in range(60):
        source = i % 3
        state, complete = packer.push(state, Sample(np.full(7, source + 1), np.ones(7, np.float32), "", "abc"[source]))
        rows += complete
    kinds = {frozenset(np.unique(row.tokens).tolist()) for row in rows}
    assert kinds == {frozenset({1, 2}), frozenset({3})}


def test_a_source_in_two_groups_is_refused():
    with pytest.raises(ValueError, match="Source 'a' is in groups 'x' and 'y'"):
        ApartPacker(24, SequentialPacker(24), {"x": ("a",), "y": ("a",)})
