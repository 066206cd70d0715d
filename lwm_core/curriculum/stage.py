"""Stages of training as data: what changes between one stretch of a run and the next.

Owns `Stage`, what a valid one is, and the `Curriculum` protocol. It trains nothing and does not import JAX.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, runtime_checkable

from lwm_core.data.mixture import MIXTURE_BY, check_shares


SCHEDULES = ("constant", "cosine")
UNEVEN = ("error", "pad")
REQUIRED = ("name", "sequence_length", "rope_theta", "rows", "steps", "learning_rate")


@dataclass(frozen=True)
class Stage:
    """One stage.

    - `sequence_length`: tokens in a row; `rows`: rows in a step, so a step is `sequence_length * rows` tokens;
    - `rope_theta`: base of the rotary angles during this stage;
    - `steps`, `learning_rate`, `min_learning_rate`, `warmup_steps`, `schedule` ("constant" | "cosine");
    - `mixture`: source name → share; shares sum to 1;
    - `mixture_by`: what shares are shares of: the stage's "tokens", or its "documents", whatever their lengths;
    - `modalities`: what the vocabulary must hold when the stage starts; the model grows to it;
    - `mesh`: (dp, fsdp, tp, sp), -1 for "whatever devices are left"; None runs on one device, a mesh smaller
      than the machine on the first devices;
    - `uneven`: what becomes of rows whose length does not divide over sp in the layout's way: "error" refuses the
      stage, "pad" gives every row empty slots at its end until it does.
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
    mixture_by: Literal["tokens", "documents"] = "tokens"
    modalities: tuple[str, ...] = ("text",)
    mesh: tuple[int, int, int, int] | None = None
    uneven: Literal["error", "pad"] = "error"

    def __post_init__(self):
        self._check_numbers()
        self._check_schedule()
        if self.mixture:
            check_shares(self.mixture, f"Stage {self.name!r}")
        if self.mixture_by not in MIXTURE_BY:
            raise ValueError(f"Stage {self.name!r}: mixture_by={self.mixture_by!r}: give {' or '.join(MIXTURE_BY)}.")
        if self.uneven not in UNEVEN:
            raise ValueError(f"Stage {self.name!r}: uneven={self.uneven!r}: give {' or '.join(UNEVEN)}.")
        if self.mesh is not None and (len(self.mesh) != 4 or any(n < 1 and n != -1 for n in self.mesh)):
            raise ValueError(f"Stage {self.name!r}: mesh={self.mesh}: give four sizes (dp, fsdp, tp, sp), or -1.")

    def _check_numbers(self) -> None:
        least = {"sequence_length": 2, "rows": 1, "steps": 1, "warmup_steps": 0}
        for option, low in least.items():
            value = getattr(self, option)
            if not isinstance(value, int) or value < low:
                raise ValueError(f"Stage {self.name!r}: {option}={value!r}: give a whole number >= {low}.")
        for option in ("rope_theta", "learning_rate"):
            if not getattr(self, option) > 0:
                raise ValueError(f"Stage {self.name!r}: {option}={getattr(self, option)!r}: give a number > 0.")

    def _check_schedule(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"Stage {self.name!r}: schedule={self.schedule!r}: give {' or '.join(SCHEDULES)}.")
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"Stage {self.name!r}: warmup_steps={self.warmup_steps} of {self.steps} steps: give at most as many."
            )
        low = self.min_learning_rate
        if low is not None and not 0 <= low <= self.learning_rate:
            raise ValueError(
                f"Stage {self.name!r}: min_learning_rate={low}: give one from 0 to learning_rate, {self.learning_rate}."
            )

    @staticmethod
    def of(given: "Mapping[str, Any] | Stage") -> "Stage":
        """A stage from plain data; raises `ValueError` for a field that is unknown or missing."""
        if isinstance(given, Stage):
            return given
        known = [f.name for f in fields(Stage)]
        name = given.get("name", "(unnamed)")
        for option in given:
            if option not in known:
                near = difflib.get_close_matches(option, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"Stage {name!r} has no field {option!r}: give {', '.join(known)}.{hint}")
        missing = [option for option in REQUIRED if option not in given]
        if missing:
            raise ValueError(f"Stage {name!r} lacks {', '.join(missing)}.")
        return Stage(**{option: _as_field(option, value) for option, value in given.items()})

    @property
    def tokens_per_batch(self) -> int:
        return self.sequence_length * self.rows

    @property
    def total_tokens(self) -> int:
        return self.tokens_per_batch * self.steps


def _as_field(option: str, value: Any) -> Any:
    """JSON has lists for tuples, and whole numbers where a field is a float."""
    if isinstance(value, list):
        return tuple(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and option in ("rope_theta", "learning_rate", "min_learning_rate") else value


@runtime_checkable
class Curriculum(Protocol):
    """An ordered list of stages; names are unique."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...
