"""The demo's schedule: LWM's recipe at a size for two cores. Owns the numbers only.

The context doubles over text stages while theta grows with it (the paper, section on context extension), then
vision joins with 16% pure text kept in (section on vision-language training). The figures are the demo's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from lwm_core.curriculum import Stage, check_stages


@dataclass(frozen=True)
class DemoCurriculum:
    """Text stages, then vision-language stages; the k-th number of each option belongs to the k-th stage.

    - `text_*`, `vision_*`: sequence length, theta, rows in a step, steps, highest learning rate, and mixture
      (source name → share); `mixture_by`: what shares are shares of;
    - `mesh`: (dp, fsdp, tp, sp) of every stage; None keeps to one device;
    - `warmup`: share of a stage's steps over which the learning rate rises;
    - `text_schedule`, `vision_schedule`: "constant", or "cosine" down to `floor` times the highest.
    """

    text_lengths: tuple[int, ...] = (512, 1024, 2048)
    text_thetas: tuple[float, ...] = (4e4, 1.6e5, 6.4e5)
    text_rows: tuple[int, ...] = (8, 4, 2)
    text_steps: tuple[int, ...] = (300, 60, 60)
    text_learning_rates: tuple[float, ...] = (3e-3, 1e-3, 1e-3)
    vision_lengths: tuple[int, ...] = (1024, 2048)
    vision_thetas: tuple[float, ...] = (6.4e5, 6.4e5)
    vision_rows: tuple[int, ...] = (4, 2)
    vision_steps: tuple[int, ...] = (60, 40)
    vision_learning_rates: tuple[float, ...] = (1e-3, 1e-3)
    text_mixtures: tuple[Mapping[str, float], ...] = ({"book": 1.0},) * 3
    vision_mixtures: tuple[Mapping[str, float], ...] = ({"book": 0.16, "image": 0.84}, {"book": 0.16, "clip": 0.84})
    mixture_by: Literal["tokens", "documents"] = "tokens"
    mesh: tuple[int, int, int, int] | None = None
    text_schedule: str = "constant"
    vision_schedule: str = "cosine"
    warmup: float = 0.1
    floor: float = 0.1

    def __post_init__(self):
        for modality in ("text", "vision"):
            counts = {option: len(getattr(self, option)) for option in _per_stage(modality)}
            if len(set(counts.values())) > 1:
                given = ", ".join(f"{option} has {count}" for option, count in counts.items())
                raise ValueError(f"{given}: give each as many numbers as there are {modality} stages.")
        self.stages  # noqa: B018  (an invalid stage is an error now)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return check_stages(stage for modality in ("text", "vision") for stage in self._stages(modality))

    def _stages(self, modality: str) -> list[Stage]:
        columns = [getattr(self, option) for option in _per_stage(modality)]
        return [self._stage(modality, *numbers) for numbers in zip(*columns, strict=True)]

    def _stage(self, modality: str, length: int, theta: float, rows: int, steps: int, rate: float, mixture) -> Stage:
        schedule = getattr(self, f"{modality}_schedule")
        return Stage(
            name=f"{modality}-{length}",
            sequence_length=length,
            rope_theta=theta,
            rows=rows,
            steps=steps,
            learning_rate=rate,
            min_learning_rate=self.floor * rate if schedule == "cosine" else None,
            warmup_steps=round(self.warmup * steps),
            schedule=schedule,
            mixture=mixture,
            mixture_by=self.mixture_by,
            mesh=self.mesh,
            modalities=("text",) if modality == "text" else ("text", "vision"),
        )


def _per_stage(modality: str) -> list[str]:
    return [f"{modality}_{what}" for what in ("lengths", "thetas", "rows", "steps", "learning_rates", "mixtures")]
