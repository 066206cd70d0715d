"""Conformance kit for curricula: `check_curriculum(curriculum)`. Owns no test runner and needs none."""

import itertools
import json
from dataclasses import asdict, replace

from lwm_core.curriculum import VERDICTS, Advance, Curriculum, Extend, Fail, Gated, GateState, RollBack, Stage


MANY = 1000


def check_curriculum(curriculum: Curriculum) -> None:
    """Raises `AssertionError` unless there are valid stages, named once each, the same when asked again.

    A stage survives the trip to plain JSON data and back, which is how recipes and checkpoints hold it. Gates that hold
    let a stage go, and gates that never hold end it too.
    """
    assert isinstance(curriculum, Curriculum), f"{type(curriculum).__name__} has no stages."
    stages = curriculum.stages
    assert isinstance(stages, tuple) and stages, "`stages` is not a tuple with at least one stage."
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names), f"Stages share a name: {names}."
    assert curriculum.stages == stages, "Asked again, the curriculum gives other stages."
    grown: set[str] = set()
    for stage in stages:
        assert isinstance(stage, Stage), f"{stage!r} is not a Stage."
        assert Stage.of(json.loads(json.dumps(asdict(stage)))) == stage, f"{stage.name} does not survive JSON."
        assert stage.total_tokens == stage.rows * stage.sequence_length * stage.steps, f"{stage.name}: tokens."
        assert grown <= set(stage.modalities), f"{stage.name} drops {sorted(grown - set(stage.modalities))}."
        grown = set(stage.modalities)
    if isinstance(curriculum, Gated):
        for stage in stages:
            _check_gates(curriculum, stage)


def _check_gates(curriculum: Gated, stage: Stage) -> None:
    """Raises `AssertionError` unless decisions are pure, well formed, and end whatever is measured."""
    gates = curriculum.gates_of(stage.name)
    assert len({gate.name for gate in gates}) == len(gates), f"{stage.name}: two gates on one number."
    missed = [replace(gate.judged(0.0, 0.0), passed=False) for gate in gates]
    held = [replace(item, passed=True) for item in missed]
    assert isinstance(curriculum.decide(stage.name, held, GateState()), Advance), f"{stage.name}: it never advances."
    state = GateState()
    for count in itertools.count(1):
        assert count <= MANY, f"{stage.name}: {MANY} decisions and no end."
        decision = curriculum.decide(stage.name, missed, state)
        assert decision == curriculum.decide(stage.name, missed, state), f"{stage.name}: asked again, it decides anew."
        assert type(decision) in VERDICTS and decision.reason, f"{stage.name}: {decision!r} gives no reason."
        if isinstance(decision, Advance | Fail):
            return
        state = _after(stage, decision, state)


def _after(stage: Stage, decision: Extend | RollBack, state: GateState) -> GateState:
    if isinstance(decision, Extend):
        assert decision.steps >= 1, f"{stage.name}: an extension of {decision.steps} steps."
        return replace(state, more=state.more + decision.steps, extensions=state.extensions + 1)
    changed = replace(stage, **decision.changes)
    assert changed != stage or decision.reseed, f"{stage.name}: a roll-back that changes nothing."
    times = {"roll_backs": state.roll_backs + 1, "reseeds": state.reseeds + decision.reseed}
    return replace(state, more=0, extensions=0, changes=dict(decision.changes), **times)
