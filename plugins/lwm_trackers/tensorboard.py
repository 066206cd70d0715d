"""The TensorBoard observer: event files that `tensorboard --logdir OUT/tensorboard` shows.

Owns what is written where: a folder for each stage, so that stages are curves of their own over one axis of steps, and
one file above them for what belongs to the whole run. How bytes become an event file is `eventfile`'s.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    Event,
    GateDecided,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)
from lwm_trackers.eventfile import EventFile
from lwm_trackers.scalars import measures_of, scalars_of, sentence_of, settings_of


@dataclass
class TensorBoardObserver:
    """Writes the folder `tensorboard` of a run (or `path`); needs the package tensorboard.

    - `every`: steps between two points; the points of a stage's parts come with them.

    A resumed run takes back the points after the checkpoint it starts from, and writes them again.
    """

    path: Path | None = None
    every: int = 1
    _folder: Path | None = field(default=None, init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)
    _run: Any = field(default=None, init=False, repr=False)
    _stage: Any = field(default=None, init=False, repr=False)
    _stages: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"TensorBoardObserver(every={self.every}): give a number of steps, at least 1.")

    def notify(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin(event)
        elif self._run is None:
            raise ValueError("TensorBoardObserver heard of a step before its run started.")
        elif isinstance(event, StageStarted):
            self._enter(event.stage.name)
        elif isinstance(event, StepFinished):
            if event.step % self.every == 0:
                self._stage.scalars(scalars_of(event), event.step)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        else:
            self._told(event)

    def _begin(self, event: RunStarted) -> None:
        self._close()
        self._folder, self._done = self.path or event.out / "tensorboard", event.done
        self._run = EventFile(self._folder, after=event.done)
        if not event.done:
            self._run.text("recipe", f"```json\n{json.dumps(event.recipe, indent=1, default=str)}\n```", 0)
            self._run.settings(settings_of(event.recipe))
            self._run.flush()

    def _enter(self, name: str) -> None:
        assert self._folder is not None
        if name not in self._stages:
            folder = self._folder / name.replace("/", "-").replace("\\", "-")
            self._stages[name] = EventFile(folder, after=self._done)
        self._stage = self._stages[name]

    def _evaluated(self, event: Evaluated) -> None:
        assert self._folder is not None
        self._run.scalars(measures_of(event), event.step)
        if event.draw is not None:
            path = self._folder / f"{event.evaluator}-{event.step}.png"
            try:
                self._run.picture(f"evaluate/{event.evaluator}", event.draw(path), event.step)
            except ImportError as error:  # a package for pictures is missing, which is no reason to end a run
                self._run.text(f"evaluate/{event.evaluator}", str(error), event.step)
        self._run.flush()

    def _told(self, event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            self._run.text("checkpoint", str(event.path), event.step)
        elif isinstance(event, StepGuarded):
            self._run.text("guard", f"{sentence_of(event)}; batch: {event.batch}", event.step)
        elif isinstance(event, GateDecided):
            self._run.text("gate", sentence_of(event), event.step)
        elif isinstance(event, RunFailed):
            self._run.text("failed", sentence_of(event), event.step)
        self._flush()  # what is kept in a checkpoint is kept here
        if isinstance(event, RunFinished | RunFailed):
            self._close()

    def _flush(self) -> None:
        for file in (self._run, *self._stages.values()):
            file.flush()

    def _close(self) -> None:
        for file in (self._run, *self._stages.values()):
            if file is not None:
                file.close()
        self._run, self._stages = None, {}
