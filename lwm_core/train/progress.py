"""The progress observer: a line on the terminal with loss by part, tokens a second, utilisation and time left.

Owns what a person sees while training. On a terminal it is a live bar; in a log file, a line now and then. A stage's
last step is shown with its losses by length and by position.
"""

import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lwm_core.train.observer import (
    CheckpointSaved,
    Event,
    GateDecided,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)


@dataclass
class ProgressObserver:
    """Shows progress on standard error.

    - `every`: seconds between two lines where standard error is not a terminal.
    """

    every: float = 10.0
    _view: Any = field(default=None, init=False, repr=False)

    def notify(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            live = sys.stderr.isatty()
            self._view = _Bar(event) if live else _Lines(event, self.every)
        elif self._view is not None:
            self._view.show(event)


class _Bar:
    """A live bar for a terminal."""

    def __init__(self, event: RunStarted):
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("starting", total=event.steps, completed=event.done, note="")
        self._bar.start()
        self._total = event.steps

    def show(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._bar.update(self._task, description=event.stage.name)
            self._last_step = event.stage.steps
            for name, report in event.left_out.items():
                self._bar.console.print(f"source {name}: {report}", markup=False)
        elif isinstance(event, StepFinished):
            self._bar.update(self._task, completed=event.step, note=_note(event))
            if event.stage_step == self._last_step:
                for line in _breakdown(event):
                    self._bar.console.print(line)
        elif isinstance(event, GateDecided):
            self._total += event.more
            self._bar.update(self._task, total=self._total)
            self._bar.console.print(_verdict(event))
        elif isinstance(event, StepGuarded):
            self._total += event.more
            self._bar.update(self._task, total=self._total)
            self._bar.console.print(_guarded(event), markup=False)
        elif isinstance(event, RunFinished | RunFailed):
            self._bar.stop()


class _Lines:
    """A line every so often for a log."""

    def __init__(self, event: RunStarted, every: float):
        self._steps, self._done, self._every = event.steps, event.done, every
        self._start = self._last = time.monotonic()

    def show(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            stage = event.stage
            self._last_step = stage.steps
            self._say(
                f"stage {stage.name}: {stage.steps} steps of {stage.rows} x {stage.sequence_length} tokens, "
                f"rope theta {stage.rope_theta:g}, attention {event.attention}"
            )
            for name, report in event.left_out.items():
                self._say(f"source {name}: {report}")
        elif isinstance(event, CheckpointSaved):
            self._say(f"saved {event.path}")
        elif isinstance(event, GateDecided):
            self._steps += event.more
            self._say(_verdict(event))
        elif isinstance(event, StepGuarded):
            self._steps += event.more
            self._say(_guarded(event))
        elif isinstance(event, StepFinished):
            now = time.monotonic()
            if now - self._last >= self._every or event.step == self._steps:
                self._last = now
                left = (now - self._start) / max(event.step - self._done, 1) * (self._steps - event.step)
                self._say(f"step {event.step}/{self._steps} ({event.stage}) {_note(event)}, {left:.0f} s left")
            if event.stage_step == self._last_step:
                for line in _breakdown(event):
                    self._say(line)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def _note(event: StepFinished) -> str:
    rate = f"{event.tokens / max(event.seconds, 1e-9):,.0f} tokens/s{_share(event)}"
    if event.metrics.get("targets") == 0:
        return f"no target in this step: nothing changed, {rate}"
    parts = _parts(event).get("", {})
    named = f" ({', '.join(f'{name} {loss:.3f}' for name, loss in parts.items())})" if len(parts) > 1 else ""
    return f"loss {event.metrics['loss']:.3f}{named}, {rate}"


def _share(event: StepFinished) -> str:
    """How much of the chips was used, or, where nobody says what they can do, how much was done."""
    if event.utilisation is not None:
        return f", {100 * event.utilisation:.1f}% of peak"
    rate = event.flops_per_second
    if rate is None:
        return ""
    unit, size = next(((u, s) for u, s in (("P", 1e15), ("T", 1e12), ("G", 1e9)) if rate >= s), ("M", 1e6))
    return f", {rate / size:.3g} {unit}FLOP/s"


def _breakdown(event: StepFinished) -> list[str]:
    """A line for each group of parts, such as those by length."""
    groups = {group: parts for group, parts in _parts(event).items() if group}
    spelt = {group: ", ".join(f"{name}: {loss:.3f}" for name, loss in parts.items()) for group, parts in groups.items()}
    return [f"stage {event.stage}, last step, loss by {group}: {parts}" for group, parts in spelt.items()]


def _parts(event: StepFinished) -> dict[str, dict[str, float]]:
    """Losses of an objective's parts by what stands before the slash ("" for modalities), in the order of numbers."""
    names = (name.removeprefix("loss/") for name in event.metrics if name.startswith("loss/"))
    groups: dict[str, dict[str, float]] = {}
    for name in sorted(names, key=lambda n: [(int(d or 0), w) for d, w in re.findall(r"(\d+)|(\D+)", n)]):
        group, _, own = name.rpartition("/")
        groups.setdefault(group, {})[own] = event.metrics[f"loss/{name}"]
    return groups


def _verdict(event: GateDecided) -> str:
    return f"stage {event.stage} after {event.stage_step} steps: {event.verdict}: {event.reason}"


def _guarded(event: StepGuarded) -> str:
    files = list(dict.fromkeys(str(d["name"] or d["source"]) for d in event.documents if d["source"]))
    named = f" of {', '.join(files[:3])}{', ...' if len(files) > 3 else ''}" if files else ""
    verdict = event.verdict if event.to_step is None else f"{event.verdict} to step {event.to_step}"
    return f"step {event.step}: {verdict}: {event.reason} Began in: {event.layer}. Batch{named}: {event.batch}"
