"""A schedule of one's own: a model's context grown length by length, the rotary base given or worked out.

Owns the options and the two fitted laws. Published schedules, from which the laws are fitted, are `lwm`'s and
`others`'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from lwm_core.curriculum import PowerLaw, Stage, auto_theta, check_stages
from lwm_stages.lwm import LWM_TEXT
from lwm_stages.others import GRADIENT
from lwm_stages.published import Mesh, PublishedStage


def _law(schedule: tuple[PublishedStage, ...]) -> PowerLaw:
    return PowerLaw.fit({stage.sequence_length.value: stage.rope_theta.value for stage in schedule})


LAWS = {"lwm": _law(LWM_TEXT), "gradient": _law(GRADIENT)}  # theta grows as L^1.1 and as L^1.9


@dataclass(frozen=True)
class Extension:
    """Stages named "extend-LENGTH" on a model whose context is to grow; the k-th number belongs to the k-th stage.

    - `base_length`, `base_theta`, `head_width`: what the model was trained at, and the width of its heads;
    - `lengths`, `rows`, `steps`: of each stage;
    - `mixture`: source name → share, of every stage;
    - `thetas`: the rotary bases, or "auto": what `law` says, and never under the NTK-aware floor;
    - `law`: "lwm" or "gradient", fitted to what those trained with;
    - `learning_rate`, `schedule`, `mesh`: of every stage; `warmup`: share of a stage's steps.
    """

    base_length: int
    base_theta: float
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    steps: tuple[int, ...]
    mixture: Mapping[str, float]
    head_width: int = 128
    thetas: Literal["auto"] | tuple[float, ...] = "auto"
    law: Literal["lwm", "gradient"] = "lwm"
    learning_rate: float = 2e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.1
    mesh: Mesh | None = None

    def __post_init__(self):
        counts = {option: len(getattr(self, option)) for option in ("lengths", "rows", "steps")}
        if self.thetas != "auto":
            counts["thetas"] = len(self.thetas)
        if len(set(counts.values())) > 1:
            given = ", ".join(f"{option} has {count}" for option, count in counts.items())
            raise ValueError(f"{given}: give each as many numbers as there are stages.")
        if self.law not in LAWS:
            raise ValueError(f"law={self.law!r}: give {' or '.join(LAWS)}.")
        self.stages  # noqa: B018  (an invalid stage is an error now)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        columns = zip(self.lengths, self._thetas, self.rows, self.steps, strict=True)
        return check_stages(self._stage(*column) for column in columns)

    @property
    def _thetas(self) -> tuple[float, ...]:
        if self.thetas != "auto":
            return self.thetas
        base = {"base_length": self.base_length, "base_theta": self.base_theta, "width": self.head_width}
        return tuple(auto_theta(length, LAWS[self.law], **base) for length in self.lengths)

    def _stage(self, length: int, theta: float, rows: int, steps: int) -> Stage:
        return Stage(
            name=f"extend-{length}",
            sequence_length=length,
            rope_theta=theta,
            rows=rows,
            steps=steps,
            learning_rate=self.learning_rate,
            warmup_steps=round(self.warmup * steps),
            schedule=self.schedule,
            mixture=self.mixture,
            mesh=self.mesh,
        )
