"""Where a run stands, to and from a checkpoint's manifest. Owns the record alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lwm_core.checkpoint.base import CheckpointError, Manifest
from lwm_core.curriculum import GateState, Stage
from lwm_core.train.guard import GuardState


@dataclass(frozen=True)
class Place:
    """Steps done in all, in which stage and how many of its steps, the data stream, the gates' state and the guard's.

    `step` only grows: a roll-back takes `stage_step` back, to 0 or to a checkpoint's, and keeps counting.
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    stream: Any = None
    gates: GateState = field(default_factory=GateState)
    guard: GuardState = field(default_factory=GuardState)

    @staticmethod
    def of(manifest: Manifest, stages: Sequence[str]) -> "Place":
        """The place in a manifest; raises `CheckpointError` for a stage that is none of these names."""
        if manifest.stage not in stages:
            raise CheckpointError(
                f"The checkpoint stands in stage {manifest.stage!r}; this curriculum has {', '.join(stages)}."
            )
        gates = GateState.of_data(manifest.gates)
        where = manifest.step, stages.index(manifest.stage), manifest.stage_step
        return Place(*where, manifest.stream, gates, GuardState.of_data(manifest.guard))

    def steps(self, stages: Sequence[Stage]) -> int:
        """Steps of the whole run, as far as is decided: those done, and those left; `stages` are all of it."""
        left = sum(stage.steps for stage in stages[self.stage :])
        return self.step + left + self.gates.more - self.stage_step

    def following(self) -> "Place":
        """The beginning of the next stage."""
        gates = GateState(decisions=self.gates.decisions)
        return Place(self.step, self.stage + 1, gates=gates, guard=self.guard.following())
