"""The reference curriculum: the stages that a recipe writes down. Computes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from lwm_core.curriculum.stage import Stage


@dataclass(frozen=True)
class StagedCurriculum:
    """Stages in order; `Stage.of` makes one from plain data."""

    stages: tuple[Stage, ...]

    def __post_init__(self):
        check_stages(self.stages)


def check_stages(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages; raises `ValueError` when there is none or two share a name."""
    stages = tuple(stages)
    if not stages:
        raise ValueError("A curriculum without stages: give at least one.")
    names = [stage.name for stage in stages]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"Two stages are called {doubled[0]!r} (of {', '.join(names)}): give each its own name.")
    return stages
