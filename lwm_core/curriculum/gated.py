"""The reference gated curriculum: any schedule, with gates after some of its stages and what to do when they fail.

Owns the rule: all hold, go on; else extend while that is allowed; else begin the stage again with a change; else stop.
Source: Llama 3 (Grattafiori et al. 2024, section 3.4.2) went to a longer context once short evaluations had recovered
and the needle was found at every depth.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lwm_core.curriculum.gate import Advance, Decision, Evidence, Extend, Fail, Gate, GateState, RollBack
from lwm_core.curriculum.stage import Curriculum, Stage


@dataclass(frozen=True)
class Retry:
    """What another attempt does differently; factors multiply, attempt by attempt.

    - `learning_rate`: times both rates; `rope_theta`: times the rotary base; `reseed`: the data in another order.
    """

    learning_rate: float = 0.5
    rope_theta: float = 1.0
    reseed: bool = False

    def __post_init__(self):
        for name in ("learning_rate", "rope_theta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"retry.{name}={getattr(self, name)}: give a factor > 0.")
        if self.learning_rate == self.rope_theta == 1 and not self.reseed:
            raise ValueError("A retry that changes nothing ends as before: give learning_rate, rope_theta or reseed.")

    def changes(self, stage: Stage, attempt: int) -> dict[str, Any]:
        """The fields of `stage` that are other ones on this attempt (1 is the first one after a roll-back)."""
        rates = {"learning_rate": stage.learning_rate, "min_learning_rate": stage.min_learning_rate}
        changed = {name: rate * self.learning_rate**attempt for name, rate in rates.items() if rate is not None}
        return {**changed, "rope_theta": stage.rope_theta * self.rope_theta**attempt}


@dataclass(frozen=True)
class StageGates:
    """The gates at the end of one stage, and how often it may be tried.

    - `stage`: its name;
    - `gates`: all of them must hold;
    - `extensions`: how often it is extended at most, each time by `extend_steps`, at its last learning rate;
    - `roll_backs`: how often it begins again at most, changed as `retry` says; each attempt may be extended as often;
    - `otherwise`: when nothing more is allowed: "fail", or "advance" all the same.
    """

    stage: str
    gates: tuple[Gate, ...]
    extensions: int = 0
    extend_steps: int = 0
    roll_backs: int = 0
    retry: Retry = Retry()
    otherwise: Literal["fail", "advance"] = "fail"

    def __post_init__(self):
        if not self.gates:
            raise ValueError(f"The gates of stage {self.stage!r} are none: give one, or leave the stage out.")
        names = [gate.name for gate in self.gates]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"Stage {self.stage!r} has two gates on {doubled[0]}: give one with both bounds.")
        for name in ("extensions", "roll_backs"):
            if getattr(self, name) < 0:
                raise ValueError(f"The gates of stage {self.stage!r}: {name}={getattr(self, name)}: give 0 or more.")
        if self.extensions and self.extend_steps < 1:
            raise ValueError(
                f"The gates of stage {self.stage!r}: {self.extensions} extensions of {self.extend_steps} steps: "
                "give extend_steps >= 1."
            )
        if self.otherwise not in ("fail", "advance"):
            raise ValueError(f"The gates of stage {self.stage!r}: otherwise={self.otherwise!r}: give fail or advance.")

    def decide(self, stage: Stage, evidence: Sequence[Evidence], state: GateState) -> Decision:
        """The rule of this file."""
        missed = [item for item in evidence if not item.passed]
        if not missed:
            return Advance(f"every gate holds: {_joined(evidence)}.")
        why = _joined(missed)
        mendable = all(item.miss == "extend" for item in missed)
        if mendable and state.extensions < self.extensions:
            return Extend(f"{why}; extension {state.extensions + 1} of {self.extensions}.", self.extend_steps)
        if state.roll_backs < self.roll_backs:
            attempt = state.roll_backs + 1
            changes = self.retry.changes(stage, attempt)
            said = ", ".join(f"{name} {value:g}" for name, value in changes.items())
            said += ", data in another order" if self.retry.reseed else ""
            return RollBack(
                f"{why}; roll-back {attempt} of {self.roll_backs}, with {said}.", changes, self.retry.reseed
            )
        tried = f"after {state.extensions} extensions and {state.roll_backs} roll-backs"
        if self.otherwise == "advance":
            return Advance(f"{why}, {tried}; the recipe says to advance all the same.")
        return Fail(f"{why}, {tried}.")


@dataclass(frozen=True)
class GatedCurriculum:
    """The stages of `schedule`, some of them with gates.

    - `schedule`: any curriculum; `gates`: at most one entry a stage.
    """

    schedule: Curriculum
    gates: tuple[StageGates, ...]

    def __post_init__(self):
        names = [stage.name for stage in self.schedule.stages]
        for entry in self.gates:
            if entry.stage not in names:
                near = difflib.get_close_matches(entry.stage, names, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"Gates for a stage {entry.stage!r}: the stages are {', '.join(names)}.{hint}")
        gated = [entry.stage for entry in self.gates]
        doubled = sorted({name for name in gated if gated.count(name) > 1})
        if doubled:
            raise ValueError(f"Two entries of gates for stage {doubled[0]!r}: put its gates into one.")
        for entry in self.gates:
            stage = self._stage(entry.stage)
            if entry.extensions and stage.schedule == "cosine" and stage.min_learning_rate == 0:
                raise ValueError(
                    f"Stage {stage.name!r} ends at a learning rate of 0, at which an extension changes nothing: give "
                    "min_learning_rate > 0, or no extensions."
                )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.schedule.stages

    def gates_of(self, stage: str) -> tuple[Gate, ...]:
        entry = self.entry(stage)
        return () if entry is None else entry.gates

    def decide(self, stage: str, evidence: Sequence[Evidence], state: GateState) -> Decision:
        entry = self.entry(stage)
        if entry is None:
            return Advance("the stage has no gates.")
        return entry.decide(self._stage(stage), evidence, state)

    def entry(self, stage: str) -> StageGates | None:
        """The gates of a stage and how often it may be tried."""
        return next((entry for entry in self.gates if entry.stage == stage), None)

    def _stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


def _joined(evidence: Sequence[Evidence]) -> str:
    return "; ".join(map(str, evidence))
