"""The guard: a step whose loss or gradient is not finite, or whose loss jumps, changes nothing.

Owns when a step is refused, what is done about it and the state that goes with it, which is JSON in the checkpoint's
manifest. The refusal itself is inside the compiled step (`step`); whose fault it was is `culprit`'s.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np


class Diverged(RuntimeError):
    """A run stops because a step was refused; the newest checkpoint is from before it."""


Action = Literal["stop", "skip", "roll-back"]


@dataclass(frozen=True)
class GuardState:
    """What a guard remembers of the stage under way, and every roll-back of the run.

    - `losses`: of the last steps that were learnt from; `refused`: how many steps in a row were refused;
    - `roll_backs`: in this stage; `passed`: steps of its stream that they passed over;
    - `decisions`: the roll-backs, as `lwm_core.train.back.gone_back` writes them down;
    - `before`: of a checkpoint that was not due, made to stop the run: the name of the one to go back to, "" for the
      run's beginning.
    """

    losses: tuple[float, ...] = ()
    refused: int = 0
    roll_backs: int = 0
    passed: int = 0
    decisions: tuple[Mapping[str, Any], ...] = ()
    before: str | None = None

    def data(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @staticmethod
    def of_data(data: Mapping[str, Any] | None) -> "GuardState":
        if data is None:
            return GuardState()
        return GuardState(**{**data, "losses": tuple(data["losses"]), "decisions": tuple(data["decisions"])})

    def following(self) -> "GuardState":
        """At the beginning of a stage, or of another attempt at one."""
        return GuardState(decisions=self.decisions)


@dataclass(frozen=True)
class Guard:
    """What a run does about a step that should not be learnt from; each stage begins with no history.

    - `nonfinite`: when loss or gradient is not finite, "stop" the run, "skip" the step's batch, or "roll-back": go on
      from the newest checkpoint (the run's beginning, where there is none) with the rows after the step's;
    - `spike`: a loss above so many times the median of the last `window` losses is refused too; None for none. The
      median counts once there are `least` of them;
    - `on_spike`: "stop", "skip" or "roll-back";
    - `most`: so many steps refused in a row stop the run, since then it is not the batch;
    - `roll_backs`: so many times a stage may be rolled back; what would be one more stops the run.
    """

    nonfinite: Action = "stop"
    spike: float | None = None
    on_spike: Action = "skip"
    window: int = 64
    least: int = 16
    most: int = 8
    roll_backs: int = 3

    def __post_init__(self):
        if self.spike is not None and not self.spike > 1:
            raise ValueError(f"guard.spike = {self.spike}: give a factor above 1, such as 3.0, or leave it out.")
        if self.spike is None and self.on_spike != "skip":
            raise ValueError(f'guard.on_spike = "{self.on_spike}" and no guard.spike: give a factor, such as 3.0, too.')
        if min(self.least, self.most, self.roll_backs) < 1 or self.window < self.least:
            raise ValueError(
                f"guard.window = {self.window}, least = {self.least}, most = {self.most}, roll_backs = "
                f"{self.roll_backs}: give the last three at least 1, and a window that holds least."
            )

    def limit(self, state: GuardState) -> float:
        """The largest loss that is learnt from."""
        if self.spike is None or len(state.losses) < self.least:
            return math.inf
        return float(np.float32(self.spike * statistics.median(state.losses)))

    def after(self, state: GuardState, metrics: Mapping[str, float]) -> GuardState:
        """The state after a step with these metrics."""
        if metrics["refused"]:
            return replace(state, refused=state.refused + 1)
        if not metrics["targets"]:
            return state
        return replace(state, losses=(*state.losses, metrics["loss"])[-self.window :], refused=0)

    def verdict(self, state: GuardState, metrics: Mapping[str, float]) -> tuple[Action, str]:
        """What is done about a refused step, and why; `state` is that before it."""
        loss, limit = metrics["loss"], self.limit(state)
        if math.isfinite(loss) and loss > limit:
            do, reason = self.on_spike, f"The loss {loss:.4g} is above {limit:.4g}, {self.spike:g} times the median."
        else:
            do, reason = self.nonfinite, f"The loss is {loss:.4g}, the gradient's norm {metrics['gradient_norm']:.4g}."
        if do == "skip" and state.refused + 1 >= self.most:
            return "stop", f"{reason} It is refused step number {self.most} in a row."
        if do == "roll-back" and state.roll_backs >= self.roll_backs:
            return "stop", f"{reason} This stage was rolled back {state.roll_backs} times already."
        return do, reason
