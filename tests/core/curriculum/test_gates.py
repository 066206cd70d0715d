"""The rule of gates as a function: what holds advances, what does not is extended, rolled back and then given up."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.curriculum import (
    Advance,
    Extend,
    Fail,
    Gate,
    GatedCurriculum,
    GateState,
    Retry,
    RollBack,
    Stage,
    StagedCurriculum,
    StageGates,
)
from lwm_core.testing.curriculum import check_curriculum


STAGE = Stage("long", 32, 4e4, rows=2, steps=4, learning_rate=1e-3, min_learning_rate=1e-4, mixture={"book": 1.0})
SHORT = Gate("short", "loss", within=0.1)
NEEDLE = Gate("needle", "accuracy.32", at_least=0.9, better="higher")


def gated(*gates, **options):
    return GatedCurriculum(StagedCurriculum((STAGE,)), (StageGates("long", gates or (SHORT,), **options),))


@pytest.mark.parametrize(
    "gate, value, before, passed",
    [
        (SHORT, 2.1, 2.0, True),
        (SHORT, 2.2, 2.0, False),
        (SHORT, math.nan, 2.0, False),
        (NEEDLE, 0.9, 0.0, True),
        (NEEDLE, 0.89, 1.0, False),
        (Gate("a", "b", within=0.05, better="higher"), 0.94, 1.0, False),
        (Gate("a", "b", within=0.05, better="higher"), 0.96, 1.0, True),
        (Gate("a", "b", within=0.5, at_most=2.2), 2.4, 2.0, False),
        (Gate("a", "b", at_most=math.inf), math.inf, 2.0, False),
        (Gate("a", "b", within=-0.5), 1.6, 2.0, False),
        (Gate("a", "b", within=-0.5), 1.4, 2.0, True),
    ],
)
def test_a_gate_holds_within_its_bounds(gate, value, before, passed):
    evidence = gate.judged(value, before)
    assert evidence.passed is passed and gate.name in str(evidence)
    assert "NaN" not in json.dumps(evidence.__dict__) and "Infinity" not in json.dumps(evidence.__dict__)


def test_all_must_hold_and_each_missing_one_is_named():
    curriculum = gated(SHORT, NEEDLE)
    good, bad = SHORT.judged(2.0, 2.0), NEEDLE.judged(0.5, 0.0)
    assert isinstance(curriculum.decide("long", [good, NEEDLE.judged(1.0, 0.0)], GateState()), Advance)
    refused = curriculum.decide("long", [good, bad], GateState())
    assert isinstance(refused, Fail) and "needle.accuracy.32 is 0.5" in refused.reason and "short" not in refused.reason


def test_extensions_come_first_then_roll_backs_with_a_declared_change():
    curriculum = gated(extensions=1, extend_steps=3, roll_backs=2, retry=Retry(0.5, 0.8, reseed=True))
    missed = [SHORT.judged(9.0, 2.0)]
    assert curriculum.decide("long", missed, GateState()).steps == 3
    second = curriculum.decide("long", missed, GateState(extensions=1, roll_backs=1))
    assert isinstance(second, RollBack) and second.reseed
    assert second.changes == pytest.approx(
        {"learning_rate": 2.5e-4, "min_learning_rate": 2.5e-5, "rope_theta": 4e4 * 0.64}
    )
    over = GateState(extensions=1, roll_backs=2)
    assert isinstance(curriculum.decide("long", missed, over), Fail)
    lenient = gated(extensions=1, extend_steps=3, roll_backs=2, otherwise="advance")
    assert "all the same" in lenient.decide("long", missed, over).reason


def test_harm_that_more_steps_do_not_mend_rolls_back_at_once():
    harm = Gate("short", "loss", at_most=3.0, miss="roll-back")
    curriculum = gated(harm, NEEDLE, extensions=5, extend_steps=1, roll_backs=1)
    lost = NEEDLE.judged(0.0, 0.0)
    assert isinstance(curriculum.decide("long", [harm.judged(2.0, 2.0), lost], GateState()), Extend)
    assert isinstance(curriculum.decide("long", [harm.judged(4.0, 2.0), lost], GateState()), RollBack)


@given(
    st.integers(0, 3), st.integers(0, 3), st.sampled_from(["fail", "advance"]), st.sampled_from(["extend", "roll-back"])
)
def test_whatever_is_measured_it_ends(extensions, roll_backs, otherwise, miss):
    options = {"extensions": extensions, "extend_steps": 1, "roll_backs": roll_backs, "otherwise": otherwise}
    check_curriculum(gated(Gate("short", "loss", within=0.1, miss=miss), **options))


def test_state_survives_json():
    state = GateState(3, 1, 2, {"learning_rate": 1e-4}, 2, {"short.loss": None}, ({"verdict": "extend", "step": 4},))
    assert GateState.of_data(json.loads(json.dumps(state.data()))) == state
    assert GateState.of_data(None) == GateState()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Gate("short", "loss"), "short.loss has no bound"),
        (lambda: gated(extensions=2), "2 extensions of 0 steps"),
        (lambda: StageGates("long", ()), "are none"),
        (lambda: Retry(1.0), "changes nothing"),
        (lambda: Retry(0.0), "give a factor > 0"),
        (lambda: GatedCurriculum(StagedCurriculum((STAGE,)), (StageGates("lnog", (SHORT,)),)), "Did you mean 'long'"),
        (lambda: GatedCurriculum(StagedCurriculum((STAGE,)), (StageGates("long", (SHORT,)),) * 2), "Two entries"),
    ],
)
def test_what_means_nothing_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
