"""The gates of a run: measured before and after a stage, decided on, written down.

Owns the asking. What is decided is the curriculum's (`lwm_core.curriculum`), what is done about it `run`'s.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lwm_core.curriculum import (
    VERDICTS,
    Decision,
    Evidence,
    Extend,
    Gate,
    Gated,
    GateState,
    RollBack,
    Stage,
)
from lwm_core.evaluate.base import Evaluation, Pictured, Subject
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.train.observer import Evaluated, GateDecided
from lwm_core.train.place import Place
from lwm_core.train.trainable import Trainable
from lwm_core.vocab import Vocabulary


def gates_of(pipeline: Trainable, stage: Stage) -> tuple[Gate, ...]:
    """The gates of a stage; none where the curriculum has none."""
    curriculum = pipeline.curriculum
    return curriculum.gates_of(stage.name) if isinstance(curriculum, Gated) else ()


def check_gates(pipeline: Trainable, stages: Iterable[Stage]) -> None:
    """Raises `ValueError` for a gate whose evaluator the pipeline has not."""
    for stage in stages:
        for gate in gates_of(pipeline, stage):
            if gate.evaluator not in pipeline.evaluators:
                near = difflib.get_close_matches(gate.evaluator, pipeline.evaluators, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                have = ", ".join(sorted(pipeline.evaluators)) or "none"
                raise ValueError(
                    f"Stage {stage.name!r} has a gate on evaluator {gate.evaluator!r}; the evaluators are {have}.{hint}"
                )


def measured(
    pipeline: Trainable,
    gates: Sequence[Gate],
    model: AbstractSequenceModel,
    vocabulary: Vocabulary,
    heard: Callable[[str, Evaluation], None] | None = None,
) -> dict[str, float]:
    """Gate's name → its number for this model; each evaluator is run once, and `heard` is told what it measured."""
    subject = Subject(model, pipeline.tokenizer, vocabulary)
    used = dict.fromkeys(gate.evaluator for gate in gates)
    found = {name: pipeline.evaluators[name](subject) for name in used}
    for name, evaluation in found.items():
        if heard is not None:
            heard(name, evaluation)
    summaries = {name: evaluation.summary for name, evaluation in found.items()}
    return {gate.name: _number(summaries[gate.evaluator], gate) for gate in gates}


def evaluated(pipeline: Trainable, stage: Stage, step: int, name: str, evaluation: Evaluation) -> Evaluated:
    """The event that tells what evaluator `name` measured, with its picture to draw where it has one."""
    evaluator = pipeline.evaluators[name]
    draw = (lambda path: evaluator.draw(path, {name: evaluation})) if isinstance(evaluator, Pictured) else None
    return Evaluated(step, stage.name, name, evaluation, draw)


def _number(summary: Mapping[str, Any], gate: Gate) -> float:
    value: Any = summary
    for step in gate.measure.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise ValueError(
                f"Evaluator {gate.evaluator!r} measures no {gate.measure!r}: it has {', '.join(_places(summary))}."
            )
        value = value[step]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{gate.name} is {value!r}, which is no number: the numbers are {', '.join(_places(summary))}."
        )
    return float(value)


def _places(summary: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every number of a summary, dotted."""
    found = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found += _places(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found.append(f"{prefix}{name}")
    return found


def before_stage(gates: Sequence[Gate], values: Mapping[str, float]) -> dict[str, float]:
    """The numbers to compare with later; raises `ValueError` where a gate asks for recovery of what is no number."""
    for gate in gates:
        if gate.within is not None and not -float("inf") < values[gate.name] < float("inf"):
            raise ValueError(f"{gate.name} is {values[gate.name]} before the stage: there is nothing to recover.")
    return dict(values)


def decided(
    pipeline: Trainable, stage: Stage, place: Place, values: Mapping[str, float]
) -> tuple[Decision, GateState, GateDecided]:
    """What to do at the end of a stage, the state after it, and the event that tells it."""
    curriculum, state = pipeline.curriculum, place.gates
    assert isinstance(curriculum, Gated)
    evidence = [gate.judged(values[gate.name], _before(state, gate)) for gate in curriculum.gates_of(stage.name)]
    decision = curriculum.decide(stage.name, evidence, state)
    record = _record(stage, place, decision, evidence)
    after = dataclasses.replace(state, decisions=(*state.decisions, record))
    more = 0
    if isinstance(decision, Extend):
        more = decision.steps
        after = dataclasses.replace(after, more=state.more + more, extensions=state.extensions + 1)
    elif isinstance(decision, RollBack):
        more = stage.steps
        after = dataclasses.replace(
            after,
            more=0,
            extensions=0,
            roll_backs=state.roll_backs + 1,
            changes=dict(decision.changes),
            reseeds=state.reseeds + decision.reseed,
        )
    return decision, after, GateDecided(**{**record, "evidence": tuple(record["evidence"])}, more=more)


def _before(state: GateState, gate: Gate) -> float:
    value = state.before.get(gate.name)
    return float("nan") if value is None else value


def _record(stage: Stage, place: Place, decision: Decision, evidence: Sequence[Evidence]) -> dict[str, Any]:
    return {
        "step": place.step,
        "stage": stage.name,
        "stage_step": place.stage_step,
        "verdict": VERDICTS[type(decision)],
        "reason": decision.reason,
        "extensions": place.gates.extensions,
        "roll_backs": place.gates.roll_backs,
        "evidence": [dataclasses.asdict(item) for item in evidence],
    }


def verdict_at(place: Place, stage: Stage) -> str | None:
    """What was decided where the run stands; None when nothing was."""
    last = place.gates.decisions[-1] if place.gates.decisions else None
    at_end = last is not None and (last["step"], last["stage"]) == (place.step, stage.name)
    return last["verdict"] if last is not None and at_end and place.stage_step == last["stage_step"] else None
