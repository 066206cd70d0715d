"""Stages of training as data: what changes between one stretch of a run and the next.

Owns `Stage` and the `Curriculum` protocol. It trains nothing and does not import JAX.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Stage:
    """One stage.

    - `sequence_length`: tokens in a row; `rows`: rows in a step, so a step is `sequence_length * rows` tokens;
    - `rope_theta`: base of the rotary angles during this stage;
    - `steps`, `learning_rate`, `min_learning_rate`, `warmup_steps`, `schedule` ("constant" | "cosine");
    - `mixture`: source name → share of the samples drawn; shares sum to 1;
    - `modalities`: what the vocabulary must hold when the stage starts; the model grows to it;
    - `mesh`: (dp, fsdp, tp, sp), -1 for "whatever devices are left"; None runs on one device.
    """

    name: str
    sequence_length: int
    rope_theta: float
    rows: int
    steps: int
    learning_rate: float
    min_learning_rate: float | None = None
    warmup_steps: int = 0
    schedule: str = "constant"
    mixture: Mapping[str, float] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("text",)
    mesh: tuple[int, int, int, int] | None = None

    @property
    def tokens_per_batch(self) -> int:
        return self.sequence_length * self.rows

    @property
    def total_tokens(self) -> int:
        return self.tokens_per_batch * self.steps


@runtime_checkable
class Curriculum(Protocol):
    """An ordered list of stages; names are unique."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...
