"""Conformance kit of the observer interface: every event of a run, in order, is taken without complaint.

Owns no test runner.
"""

import tempfile
from pathlib import Path

from lwm_core.curriculum import Stage
from lwm_core.train.observer import (
    CheckpointSaved,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
)


def check_observer(observer: Observer) -> None:
    """Sends the events of a finished run, then those of one that failed."""
    stage = Stage("first", 8, 1e4, 1, 2, 1e-3)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        steps = [StepFinished(n, "first", n, 0.1, 8, {"loss": 1.0, "loss/vision": float("nan")}) for n in (1, 2)]
        start = [RunStarted(out, 2, 0), StageStarted(stage, 0, "dense")]
        for event in (*start, *steps, CheckpointSaved(out / "step-2", 2), RunFinished(out, 2)):
            observer.notify(event)
        for event in (*start, RunFailed(ValueError("on purpose"), 0)):
            observer.notify(event)
