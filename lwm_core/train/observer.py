"""The observer interface: what a run tells the world, on the host and between steps.

Owns the events and the contract. Observers never change a run; one that raises stops it, with its own error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lwm_core.curriculum import Stage
from lwm_core.data import LeftOut


@dataclass(frozen=True)
class RunStarted:
    """`steps` in all stages together; `done` of them before this start (more than 0 when resumed)."""

    out: Path
    steps: int
    done: int
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageStarted:
    """`left_out`: by source, what it does not give, such as bad records and documents of another length."""

    stage: Stage
    index: int
    attention: str
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)


@dataclass(frozen=True)
class StepFinished:
    """`step` counts over the run, `stage_step` in the stage, both from 1.

    `metrics` are plain floats, see `lwm_core.train.step.make_step`: always `loss`, `targets` and `segments`, and for
    each part of the objective that has a target `loss/PART` and `tokens/PART`, such as `loss/vision`,
    `loss/length/65-128`, `loss/position/9`. A step with 0 targets has loss 0 and changed nothing.
    """

    step: int
    stage: str
    stage_step: int
    seconds: float
    tokens: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class CheckpointSaved:
    path: Path
    step: int


@dataclass(frozen=True)
class GateDecided:
    """What a gated curriculum decided at the end of a stage.

    - `verdict`: "advance", "extend", "roll-back" or "fail"; `reason`: the sentence; `more`: steps it adds to the run;
    - `evidence`: for each gate {gate, value, before, least, most, passed, miss};
    - `extensions`, `roll_backs`: how many of them the stage had had until then.
    """

    step: int
    stage: str
    stage_step: int
    verdict: str
    reason: str
    evidence: tuple[Mapping[str, Any], ...]
    extensions: int = 0
    roll_backs: int = 0
    more: int = 0


@dataclass(frozen=True)
class RunFinished:
    out: Path
    step: int


@dataclass(frozen=True)
class RunFailed:
    error: BaseException
    step: int


Event = RunStarted | StageStarted | StepFinished | GateDecided | CheckpointSaved | RunFinished | RunFailed


@runtime_checkable
class Observer(Protocol):
    """Receives every event of a run, in order."""

    def notify(self, event: Event) -> None: ...
