"""The Weights & Biases observer: one of their runs for one of ours, online, offline or disabled.

Owns what is logged, and that a resumed run goes on in the same one: its id and the last step it was given lie in
`wandb.json` in the run's folder, and what was logged already is not logged again.
"""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    Event,
    GateDecided,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
    StepGuarded,
)
from lwm_trackers.scalars import measures_of, scalars_of, sentence_of


@dataclass
class WandbObserver:
    """Logs to Weights & Biases; needs the package wandb.

    - `mode`: "online" needs an account (`wandb login`); "offline" writes `OUT/wandb` for a later `wandb sync` and
      asks no network; "disabled" logs nowhere;
    - `project`, `entity`, `name`, `group`, `tags`: theirs; the name of the run's folder where `name` is left out;
    - `every`: steps between two points.
    """

    mode: Literal["online", "offline", "disabled"] = "online"
    project: str = "lwm"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    every: int = 1
    _run: Any = field(default=None, init=False, repr=False)
    _file: Path | None = field(default=None, init=False, repr=False)
    _before: int = field(default=-1, init=False, repr=False)

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"WandbObserver(every={self.every}): give a number of steps, at least 1.")

    def notify(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin(event)
        elif self._run is None:
            raise ValueError("WandbObserver heard of a step before its run started.")
        elif isinstance(event, StepFinished):
            if event.step % self.every == 0:
                self._log({**scalars_of(event), "stage": event.stage}, event.step)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, CheckpointSaved):
            self._run.summary["checkpoint"] = str(event.path)
        elif isinstance(event, StepGuarded | GateDecided):
            kind = "guard" if isinstance(event, StepGuarded) else "gate"
            self._log({kind: sentence_of(event)}, event.step)
        elif isinstance(event, RunFinished | RunFailed):
            self._end(event)

    def _begin(self, event: RunStarted) -> None:
        wandb = need_wandb()
        if self._run is not None:
            self._run.finish()
        event.out.mkdir(parents=True, exist_ok=True)
        self._file = event.out / "wandb.json"
        kept = json.loads(self._file.read_text("utf-8")) if event.done and self._file.is_file() else {}
        self._before = kept.get("last", -1)
        self._run = wandb.init(
            mode=self.mode,
            project=self.project,
            entity=self.entity,
            name=self.name or event.out.resolve().name,
            group=self.group,
            tags=self.tags or None,
            dir=str(event.out),
            id=kept.get("id") or secrets.token_hex(4),
            resume="allow",
            config=dict(event.recipe),
            # What the process prints is its own; code and machine are no part of a run's record here.
            settings=wandb.Settings(console="off", disable_git=True, save_code=False, disable_job_creation=True),
        )
        self._keep(self._before)

    def _evaluated(self, event: Evaluated) -> None:
        found: dict[str, Any] = dict(measures_of(event))
        if event.draw is not None and self._file is not None:
            path = self._file.with_name(f"{event.evaluator}-{event.step}.png")
            try:
                found[f"evaluate/{event.evaluator}"] = need_wandb().Image(str(event.draw(path)))
            except ImportError as error:  # a package for pictures is missing, which is no reason to end a run
                found[f"evaluate/{event.evaluator}"] = str(error)
        self._log(found, event.step)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if step > self._before:
            self._run.log(values, step=step)
            self._keep(step)

    def _keep(self, last: int) -> None:
        assert self._file is not None
        self._file.write_text(json.dumps({"id": self._run.id, "last": last}), "utf-8")

    def _end(self, event: RunFinished | RunFailed) -> None:
        if isinstance(event, RunFailed):
            self._run.summary["failed"] = sentence_of(event)
        self._run.finish(exit_code=int(isinstance(event, RunFailed)))
        self._run = None


def need_wandb() -> Any:
    """The package wandb; raises `ImportError` saying what to install."""
    try:
        import wandb
    except ImportError as error:
        raise ImportError("The observer 'wandb' needs the package wandb: pip install 'lwm-jax[wandb]'.") from error
    return wandb
