"""Gates: what a model must measure before its stage is over, and what may be decided when it does not.

Owns the records and the `Gated` protocol; `gated` has the reference rule. Nothing is measured here: evaluators do
that, and `lwm_core.train.gates` asks them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from lwm_core.curriculum.stage import Stage


@dataclass(frozen=True)
class Gate:
    """Bounds on one number that an evaluator measures; at least one of the three must be given.

    - `evaluator`: its name in the pipeline; `measure`: where the number stands in its summary, such as "loss" or
      "accuracy.2048";
    - `at_least`, `at_most`: bounds on the number itself;
    - `within`: how much worse than before the stage it may be, in its own units, or below 0 how much better it must be;
      `better` says which way is better;
    - `miss`: what to do about a number out of bounds: "extend" the stage where that is still allowed, or "roll-back"
      at once, for harm that more steps do not mend.
    """

    evaluator: str
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    within: float | None = None
    better: Literal["lower", "higher"] = "lower"
    miss: Literal["extend", "roll-back"] = "extend"

    def __post_init__(self):
        if self.at_least is None and self.at_most is None and self.within is None:
            raise ValueError(f"The gate on {self.name} has no bound: give at_least, at_most or within.")
        if self.better not in ("lower", "higher"):
            raise ValueError(f"The gate on {self.name}: better={self.better!r}: give lower or higher.")
        if self.miss not in ("extend", "roll-back"):
            raise ValueError(f"The gate on {self.name}: miss={self.miss!r}: give extend or roll-back.")

    @property
    def name(self) -> str:
        return f"{self.evaluator}.{self.measure}"

    def judged(self, value: float, before: float) -> "Evidence":
        """The number against its bounds; one that is not a number is out of them."""
        least, most = self.at_least, self.at_most
        if self.within is not None and self.better == "lower":
            most = min(before + self.within, math.inf if most is None else most)
        if self.within is not None and self.better == "higher":
            least = max(before - self.within, -math.inf if least is None else least)
        passed = (least is None or value >= least) and (most is None or value <= most) and math.isfinite(value)
        return Evidence(self.name, _finite(value), _finite(before), _finite(least), _finite(most), passed, self.miss)


@dataclass(frozen=True)
class Evidence:
    """One gate's number after the stage and before it, the bounds it had to keep, and whether it did.

    None stands for a bound that is not there, and for a number that is none. `miss` is the gate's.
    """

    gate: str
    value: float | None
    before: float | None
    least: float | None
    most: float | None
    passed: bool
    miss: str = "extend"

    def __str__(self) -> str:
        bounds = [f"at least {self.least:.4g}"] if self.least is not None else []
        bounds += [f"at most {self.most:.4g}"] if self.most is not None else []
        found = "not a number" if self.value is None else f"{self.value:.4g}"
        return f"{self.gate} is {found} (before the stage {_spelled(self.before)}; must be {' and '.join(bounds)})"


@dataclass(frozen=True)
class Advance:
    """The stage is over."""

    reason: str


@dataclass(frozen=True)
class Extend:
    """The stage goes on for `steps` more."""

    reason: str
    steps: int


@dataclass(frozen=True)
class RollBack:
    """The stage begins again, from the weights it began with.

    - `changes`: fields of the `Stage` that are other ones this time; `reseed`: whether its data come in another order.
    """

    reason: str
    changes: Mapping[str, Any]
    reseed: bool


@dataclass(frozen=True)
class Fail:
    """The run stops."""

    reason: str


Decision = Advance | Extend | RollBack | Fail
VERDICTS = {Advance: "advance", Extend: "extend", RollBack: "roll-back", Fail: "fail"}


class GateFailed(RuntimeError):
    """A stage ended, its gates do not hold, and its curriculum says to stop."""


@dataclass(frozen=True)
class GateState:
    """Where a gated curriculum stands, as JSON in every checkpoint.

    - `more`: steps that extensions have added to the stage; `extensions`, `roll_backs`: how many there were in this
      stage, extensions since the last roll-back;
    - `changes`: fields of the stage that roll-backs have changed; `reseeds`: how often its data were shuffled anew;
    - `before`: gate → its number before the stage; `decisions`: every one of the run so far, with its evidence.
    """

    more: int = 0
    extensions: int = 0
    roll_backs: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    reseeds: int = 0
    before: Mapping[str, float | None] = field(default_factory=dict)
    decisions: tuple[Mapping[str, Any], ...] = ()

    def data(self) -> dict[str, Any]:
        return {**asdict(self), "decisions": [dict(decision) for decision in self.decisions]}

    @staticmethod
    def of_data(data: Mapping[str, Any] | None) -> "GateState":
        """The state in a checkpoint; that of a run without gates has none."""
        return GateState() if data is None else GateState(**{**data, "decisions": tuple(data["decisions"])})


@runtime_checkable
class Gated(Protocol):
    """A curriculum whose stages are over when their gates hold.

    `decide` is a pure function, and gives `Advance` or `Fail` after finitely many other decisions whatever is measured.
    """

    @property
    def stages(self) -> tuple[Stage, ...]: ...

    def gates_of(self, stage: str) -> tuple[Gate, ...]:
        """What is measured before and after the stage of this name; nothing for a stage without gates."""
        ...

    def decide(self, stage: str, evidence: Sequence[Evidence], state: GateState) -> Decision:
        """What to do at the end of the stage, given what its gates measured and how often it was tried."""
        ...


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _spelled(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"
