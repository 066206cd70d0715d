"""What a run keeps in its directory: the recipe, the checkpoints, and the weights that a gated stage began with.

Owns the places (`recipe.json`, `checkpoints/`, `before/`) and what a checkpoint holds. When to save is `run`'s.
"""

import json
import shutil
from pathlib import Path

import equinox as eqx
import jax

from lwm_core.checkpoint.base import CheckpointError, Manifest
from lwm_core.curriculum import Stage
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.train.place import Place
from lwm_core.train.step import TrainState
from lwm_core.train.trainable import Trainable
from lwm_core.vocab import Vocabulary


BEFORE = "before"


def write_recipe(pipeline: Trainable, out: Path) -> None:
    """Makes the run's directory, with its recipe in it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(pipeline.recipe, indent=1), "utf-8")


def save(pipeline: Trainable, out: Path, stage: Stage, state: TrainState, place: Place, vocabulary: Vocabulary) -> Path:
    """Writes a checkpoint of the whole state and returns its path."""
    gated = place.gates.before or place.gates.decisions
    manifest = Manifest(
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
    )
    trees = {"model": eqx.filter(state.model, eqx.is_array), "optimizer": state.moments}
    return pipeline.checkpoint.save(out / "checkpoints", jax.device_get(trees), manifest)


def keep_beginning(
    pipeline: Trainable, out: Path, stage: Stage, model: AbstractSequenceModel, place: Place, vocabulary: Vocabulary
) -> None:
    """Keeps the weights that a stage begins with, instead of those of the stage before; `keep` would forget them."""
    manifest = Manifest(place.step, stage.name, 0, model.rope.theta, vocabulary.data(), plugins=pipeline.plugins)
    shutil.rmtree(out / BEFORE, ignore_errors=True)
    trees = {"model": jax.device_get(eqx.filter(model, eqx.is_array))}
    pipeline.checkpoint.save(out / BEFORE, trees, manifest)


def kept_beginning(pipeline: Trainable, out: Path) -> tuple[Path, Vocabulary]:
    """The checkpoint that `keep_beginning` made, and its id space."""
    path = pipeline.checkpoint.latest(out / BEFORE)
    if path is None:
        raise CheckpointError(f"{out / BEFORE} holds no checkpoint, and the stage cannot begin again without it.")
    return path, Vocabulary.of_data(pipeline.checkpoint.manifest(path).vocabulary)
