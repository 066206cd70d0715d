"""The guard: a step whose loss or gradient is not finite, or whose loss jumps, changes nothing.

Owns when a step is refused, what is done about it and the state that goes with it, which is JSON in the checkpoint's
manifest. The refusal itself is inside the compiled step (`step`); whose fault it was is `culprit`'s.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


class Diverged(RuntimeError):
    """A run stops because a step was refused; the newest checkpoint is from before it."""


@dataclass(frozen=True)
class GuardState:
    """Losses of the last steps that were learnt from, and how many steps in a row were refused."""

    losses: tuple[float, ...] = ()
    refused: int = 0

    def data(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "refused": self.refused}

    @staticmethod
    def of_data(data: Mapping[str, Any] | None) -> "GuardState":
        return GuardState() if data is None else GuardState(tuple(data["losses"]), data["refused"])


@dataclass(frozen=True)
class Guard:
    """What a run does about a step that should not be learnt from; each stage begins with no history.

    - `nonfinite`: when loss or gradient is not finite, "stop" the run or "skip" the step's batch;
    - `spike`: a loss above so many times the median of the last `window` losses is refused too; None for none. The
      median counts once there are `least` of them;
    - `on_spike`: "stop" or "skip";
    - `most`: so many steps refused in a row stop the run, since then it is not the batch.
    """

    nonfinite: Literal["stop", "skip"] = "stop"
    spike: float | None = None
    on_spike: Literal["stop", "skip"] = "skip"
    window: int = 64
    least: int = 16
    most: int = 8

    def __post_init__(self):
        if self.spike is not None and not self.spike > 1:
            raise ValueError(f"guard.spike = {self.spike}: give a factor above 1, such as 3.0, or leave it out.")
        if min(self.least, self.most) < 1 or self.window < self.least:
            raise ValueError(
                f"guard.window = {self.window}, least = {self.least}, most = {self.most}: give least and most of at "
                "least 1, and a window that holds least."
            )

    def limit(self, state: GuardState) -> float:
        """The largest loss that is learnt from."""
        if self.spike is None or len(state.losses) < self.least:
            return math.inf
        return float(np.float32(self.spike * statistics.median(state.losses)))

    def after(self, state: GuardState, metrics: Mapping[str, float]) -> GuardState:
        """The state after a step with these metrics."""
        if metrics["refused"]:
            return GuardState(state.losses, state.refused + 1)
        if not metrics["targets"]:
            return state
        return GuardState((*state.losses, metrics["loss"])[-self.window :], 0)

    def verdict(self, state: GuardState, metrics: Mapping[str, float]) -> tuple[str, str]:
        """ "skip" or "stop" for a refused step, and why; `state` is that before it."""
        loss, limit = metrics["loss"], self.limit(state)
        if math.isfinite(loss) and loss > limit:
            do, reason = self.on_spike, f"The loss {loss:.4g} is above {limit:.4g}, {self.spike:g} times the median."
        else:
            do, reason = self.nonfinite, f"The loss is {loss:.4g}, the gradient's norm {metrics['gradient_norm']:.4g}."
        if do == "skip" and state.refused + 1 >= self.most:
            return "stop", f"{reason} It is refused step number {self.most} in a row."
        return do, reason
