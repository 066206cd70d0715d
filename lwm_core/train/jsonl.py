"""The JSONL observer: one line of plain JSON per event, appended and flushed, so that nothing is lost on a kill.

Owns the form of a line.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwm_core.train.observer import (
    Evaluated,
    Event,
    GateDecided,
    RunFailed,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)


@dataclass
class JsonlObserver:
    """Writes `metrics.jsonl` in the run's directory (or `path`). Not-a-number is written as null."""

    path: Path | None = None
    _file: Path | None = field(default=None, init=False, repr=False)

    def notify(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._file = self.path or event.out / "metrics.jsonl"
            self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file is None:
            raise ValueError("JsonlObserver heard of a step before its run started.")
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(json.dumps(_record(event)) + "\n")


def _record(event: Event) -> dict:
    record = {"event": type(event).__name__}
    if isinstance(event, StepFinished):
        names = ("step", "stage", "stage_step", "seconds", "tokens", "pairs", "flops", "utilisation")
        return record | {name: getattr(event, name) for name in names} | _finite(event.metrics)
    if isinstance(event, StepGuarded):
        return record | dataclasses.asdict(event) | {"batch": str(event.batch)}
    if isinstance(event, Evaluated):
        record |= {"step": event.step, "stage": event.stage, "evaluator": event.evaluator}
        return record | {"summary": _finite(event.evaluation.summary)}
    if isinstance(event, StageStarted):
        left_out = {name: dataclasses.asdict(report) for name, report in event.left_out.items()}
        record |= {"stage": event.stage.name, "index": event.index, "attention": event.attention}
        return record | ({"left_out": left_out} if left_out else {})
    if isinstance(event, GateDecided):
        return record | dataclasses.asdict(event)
    if isinstance(event, RunFailed):
        return record | {"step": event.step, "error": f"{type(event.error).__name__}: {event.error}"}
    names = ("steps", "done", "step")
    record |= {name: getattr(event, name) for name in names if hasattr(event, name)}
    where = getattr(event, "path", None) or getattr(event, "out", None)
    return record | {"path": str(where)}


def _finite(value: Any) -> Any:
    """The value with null for what is no number, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {name: _finite(below) for name, below in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
