"""What a run keeps in its directory: the recipe, the checkpoints, and the weights that a gated stage began with.

Owns the places (`recipe.json`, `checkpoints/`, `before/`), what a checkpoint holds, and that it is announced when it
is whole. When to save is `run`'s; how it is written is the format's.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from lwm_core.checkpoint.advice import advised
from lwm_core.checkpoint.base import CheckpointError, Manifest, MisfitError
from lwm_core.checkpoint.folder import REFUSING
from lwm_core.curriculum import Stage
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.train.place import Place
from lwm_core.train.step import TrainState
from lwm_core.train.stopping import Stop, Stopped
from lwm_core.train.trainable import Trainable
from lwm_core.vocab import Vocabulary


CHECKPOINTS, BEFORE = "checkpoints", "before"


class Keeper:
    """The checkpoints of one run: at most one being written, each announced when it is whole on disk.

    - `announce`: is told the checkpoint's path and step;
    - `stop`: ends the run, saved, after the step at which it is asked; None never does;
    - `back`: the checkpoint that a roll-back goes to as long as none is due; None for the run's beginning.
    """

    def __init__(
        self,
        pipeline: Trainable,
        out: Path,
        announce: Callable[[Path, int], None],
        stop: Stop | None = None,
        back: Path | None = None,
    ):
        self.out = out
        self._pipeline, self._announce, self._stop, self._back = pipeline, announce, stop, back
        self._writing: tuple[Future[Path], int, bool] | None = None

    def after_step(self, stage: Stage, state: TrainState, place: Place, vocabulary: Vocabulary, *, due: bool) -> None:
        """Saves when it is `due`; raises `Stopped`, saved, when the run is to stop."""
        number = 0 if self._stop is None else self._stop.asked()
        if due or number:
            self.save(stage, state, place, vocabulary, due=due)
        elif self._writing is not None and self._writing[0].done():
            self.settle()
        if number:
            raise Stopped(self.settle() or self.out, place.step, number)

    def save(self, stage: Stage, state: TrainState, place: Place, vocabulary: Vocabulary, *, due: bool = True) -> None:
        """Begins a checkpoint of the whole state, when the one before it is whole."""
        self.settle()
        # What was not due would not be there had nobody stopped the run: it says where a roll-back goes instead.
        before = None if due else "" if self._back is None else self._back.name
        place = replace(place, guard=replace(place.guard, before=before))
        trees = {"model": eqx.filter(state.model, eqx.is_array), "optimizer": state.moments}
        manifest = _manifest(self._pipeline, stage, place, vocabulary)
        self._writing = self._pipeline.checkpoint.save(self.out / CHECKPOINTS, trees, manifest), place.step, due

    def settle(self) -> Path | None:
        """Waits for the checkpoint being written, announces it and returns its path; raises what went wrong with it."""
        if self._writing is None:
            return None
        (future, step, due), self._writing = self._writing, None
        path = future.result()
        self._back = path if due else self._back
        self._announce(path, step)
        return path

    def back(self) -> Path | None:
        """The newest checkpoint that was due, the one being written included; None before the first.

        The newest of all, where the format keeps so few that it is gone.
        """
        self.settle()
        if self._back is None or self._back.exists():
            return self._back
        return self._pipeline.checkpoint.latest(self.out / CHECKPOINTS)

    def let_go(self, error: BaseException) -> None:
        """Waits likewise when the run ends by `error`, which is what it ends by, whatever comes of the checkpoint."""
        with noted_on(error):
            self.settle()
        if isinstance(error, OSError) and error.errno in REFUSING:
            error.add_note(
                f"The run's folder, {self.out}, is full or cannot be written. The checkpoints in it are whole: mend "
                f"that, and go on with `lwm resume {self.out}`."
            )


def back_from(out: Path, found: Path | None, place: Place) -> Path | None:
    """Where a roll-back goes from checkpoint `found` of place `place`, as long as none is due."""
    before = place.guard.before
    if before is None:
        return found
    return out / CHECKPOINTS / before if before else None


@contextmanager
def noted_on(error: BaseException) -> Iterator[None]:
    """Makes what else goes wrong a note on `error`, which stays the one that is raised."""
    try:
        yield
    except Exception as other:
        error.add_note(f"Also: {other}")


def write_recipe(pipeline: Trainable, out: Path) -> None:
    """Makes the run's directory, with its recipe in it."""
    if jax.process_index() != 0:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.json").write_text(json.dumps(pipeline.recipe, indent=1), "utf-8")
    except OSError as error:
        raise CheckpointError(
            f"The run's folder {out} cannot be written ({error}): give another, or mend it."
        ) from error


def restored_moments(pipeline: Trainable, path: Path, like: Any) -> Any:
    """The optimiser's moments in a checkpoint, where those of `like` lie."""
    try:
        return pipeline.checkpoint.restore(path, "optimizer", like)
    except MisfitError as error:
        raise advised(error, path, pipeline.checkpoint.manifest(path).recipe, pipeline.recipe) from error


def keep_beginning(
    pipeline: Trainable, out: Path, stage: Stage, model: AbstractSequenceModel, place: Place, vocabulary: Vocabulary
) -> None:
    """Keeps the weights that a stage begins with, instead of those of the stage before; `keep` would forget them."""
    manifest = Manifest(place.step, stage.name, 0, model.rope.theta, vocabulary.data(), plugins=pipeline.plugins)
    if jax.process_index() == 0:
        shutil.rmtree(out / BEFORE, ignore_errors=True)
    pipeline.checkpoint.save(out / BEFORE, {"model": eqx.filter(model, eqx.is_array)}, manifest).result()


def kept_beginning(pipeline: Trainable, out: Path) -> tuple[Path, Vocabulary]:
    """The checkpoint that `keep_beginning` made, and its id space."""
    path = pipeline.checkpoint.latest(out / BEFORE)
    if path is None:
        raise CheckpointError(f"{out / BEFORE} holds no checkpoint, and the stage cannot begin again without it.")
    return path, Vocabulary.of_data(pipeline.checkpoint.manifest(path).vocabulary)


def _manifest(pipeline: Trainable, stage: Stage, place: Place, vocabulary: Vocabulary) -> Manifest:
    gated = place.gates.before or place.gates.decisions
    return Manifest(
        step=place.step,
        stage=stage.name,
        stage_step=place.stage_step,
        rope_theta=stage.rope_theta,
        vocabulary=vocabulary.data(),
        stream=place.stream,
        recipe=pipeline.recipe,
        plugins=pipeline.plugins,
        fingerprint=pipeline.fingerprint,
        gates=place.gates.data() if gated else None,
        guard=None if pipeline.guard is None else place.guard.data(),
    )
