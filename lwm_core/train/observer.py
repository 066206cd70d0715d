"""The observer interface: what a run tells the world, on the host and between steps.

Owns the events and the contract. Observers never change a run; one that raises stops it, with its own error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lwm_core.curriculum import Stage
from lwm_core.data import LeftOut
from lwm_core.evaluate.base import Evaluation


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
    """`step` counts over the run, `stage_step` in the stage, both from 1; `tokens` are slots, padding too.

    `metrics` are plain floats, see `lwm_core.train.step.make_step`: always `loss`, `targets` and `segments`, and for
    each part of the objective that has a target `loss/PART` and `tokens/PART`, such as `loss/vision`,
    `loss/length/65-128`, `loss/position/9`. A step with 0 targets has loss 0 and changed nothing.

    - `pairs`: (query, key) pairs that attention had to look at in one layer, exactly; None where the objective does
      not say which tokens see which;
    - `flops`: operations of the step by definition (`lwm_core.model.flops`); None where the model does not count them;
    - `peak`: bfloat16 operations a second of the step's devices at best; None where a chip is not in the table.
    """

    step: int
    stage: str
    stage_step: int
    seconds: float
    tokens: int
    metrics: Mapping[str, float]
    pairs: int | None = None
    flops: float | None = None
    peak: float | None = None

    @property
    def flops_per_second(self) -> float | None:
        """Of all devices together, waiting for data included."""
        return None if self.flops is None or not self.seconds else self.flops / self.seconds

    @property
    def utilisation(self) -> float | None:
        """Model-FLOP utilisation (PaLM, appendix B): the share of the peak that the model's own operations took."""
        rate = self.flops_per_second
        return None if rate is None or not self.peak else rate / self.peak


@dataclass(frozen=True)
class StepGuarded:
    """A step that the guard did not let happen (`lwm_core.train.guard`): weights and moments are as before it.

    - `verdict`: "skip", "stop" or "roll-back"; `reason`: the sentence;
    - `layer`: where it began, such as "layer 3, backwards"; `tensors`: names of arrays that are not finite;
    - `documents`: what the batch was made of, {row, segment, tokens, source, name} each;
    - `batch`: the file that holds its rows, so that it can be looked at and run again;
    - `to_step`: after a roll-back, the step whose checkpoint the run goes on from (0: its beginning); `rows`: the first
      of the stage's rows that are passed over, and the first after them; `more`: steps it adds to the run.
    """

    step: int
    stage: str
    stage_step: int
    verdict: str
    reason: str
    layer: str
    tensors: tuple[str, ...]
    documents: tuple[Mapping[str, Any], ...]
    batch: Path
    to_step: int | None = None
    rows: tuple[int, int] | None = None
    more: int = 0


@dataclass(frozen=True)
class Evaluated:
    """What an evaluator measured in the course of a run, for a gate; `draw` makes its picture, where it has one."""

    step: int
    stage: str
    evaluator: str
    evaluation: Evaluation
    draw: Callable[[Path], Path] | None = None


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


Event = (
    RunStarted
    | StageStarted
    | StepFinished
    | StepGuarded
    | Evaluated
    | GateDecided
    | CheckpointSaved
    | RunFinished
    | RunFailed
)


@runtime_checkable
class Observer(Protocol):
    """Receives every event of a run, in order."""

    def notify(self, event: Event) -> None: ...
