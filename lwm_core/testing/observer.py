"""Conformance kit of the observer interface: every event of a run, in order, is taken without complaint.

Owns no test runner.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from lwm_core.curriculum import Stage
from lwm_core.evaluate.base import Evaluation
from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)


def check_observer(observer: Observer) -> None:
    """Sends the events of a finished run, of one that was resumed from its checkpoint, and of one that failed."""
    stage = Stage("first", 8, 1e4, 1, 3, 1e-3)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        steps = [StepFinished(n, "first", n, 0.1, 8, {"loss": 1.0, "loss/vision": float("nan")}) for n in (1, 2)]
        counted = StepFinished(3, "first", 3, 0.1, 8, {"loss": 0.5}, pairs=36, flops=1e6, peak=1e9)
        began = RunStarted(out, 3, 0, {"seed": 1, "model": {"use": "llama"}})
        stage_began = StageStarted(stage, 0, "dense")
        measured = Evaluated(2, "first", "text", Evaluation("text", (), {"loss": 1.0, "by": {"8": float("inf")}}))
        batch = out / "guard" / "step-3"
        guarded = StepGuarded(3, "first", 3, "skip", "on purpose.", "layer 1, backwards", (".embed",), (), batch)
        back = replace(guarded, verdict="roll-back", to_step=2, rows=(2, 3), more=1)
        saved = CheckpointSaved(out / "step-2", 2)
        for event in (began, stage_began, *steps, guarded, back, measured, saved, counted, RunFinished(out, 3)):
            observer.notify(event)
        again = RunStarted(out, 3, 2, began.recipe)
        for event in (again, stage_began, counted, RunFinished(out, 3)):
            observer.notify(event)
        for event in (again, stage_began, RunFailed(ValueError("on purpose"), 2)):
            observer.notify(event)
