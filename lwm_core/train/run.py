"""A run: stages in order, each with its length, theta, data and mesh, checkpointed so that it can go on.

Owns the order of events and where a run stands. The arithmetic is `step`'s, the data `lwm_core.load`'s. A
resumed run gives the same bits as one that was never stopped.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lwm_core.checkpoint.base import CheckpointError, Manifest
from lwm_core.curriculum import Stage
from lwm_core.train.feed import to_batch
from lwm_core.train.observer import (
    CheckpointSaved,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
)
from lwm_core.train.stage import check_stages, stage_mesh, stage_stream
from lwm_core.train.step import TrainState, init_state, make_step
from lwm_core.train.trainable import Trainable
from lwm_core.train.weights import with_theta, with_vocabulary
from lwm_core.vocab import Vocabulary


@dataclass(frozen=True)
class Place:
    """Where a run stands: steps done in all, in which stage and how many of its steps, and the data stream."""

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    stream: Any = None


def train(pipeline: Trainable, out: Path, *, until: str | None = None, resume: bool = False) -> None:
    """Runs the curriculum into `out`, or goes on from its newest checkpoint.

    - `until`: the name of the stage to stop after; None runs them all.

    Raises `CheckpointError` when `out` already holds a run and `resume` is False, or the other way round.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file: give the run a directory of its own.")
    found = pipeline.checkpoint.latest(out / "checkpoints")
    if (found is not None) != resume:
        wrong = f"{out} already holds a run: resume it, or" if found else f"{out} holds no checkpoint to resume:"
        raise CheckpointError(f"{wrong} give another directory.")
    stages = pipeline.stages
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise ValueError(f"No stage {until!r}: this curriculum has {', '.join(names)}.")
    model, vocabulary, place, moments = _start(pipeline, found)
    last = len(stages) if until is None else names.index(until) + 1
    first = place.stage + (place.stage_step >= stages[place.stage].steps)
    check_stages(pipeline, range(first, last), model, vocabulary)
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.json").write_text(json.dumps(pipeline.recipe, indent=1), "utf-8")
    _notify(pipeline, RunStarted(out, sum(s.steps for s in stages), place.step, pipeline.recipe))
    try:
        for index in range(place.stage, last):
            if index > place.stage:
                place, moments = replace(place, stage=index, stage_step=0, stream=None), None
            model, place = _run_stage(pipeline, out, stages[index], model, place, moments)
    except BaseException as error:
        _notify(pipeline, RunFailed(error, place.step))
        raise
    _notify(pipeline, RunFinished(out, place.step))


def _start(pipeline: Trainable, found: Path | None):
    """The model and its id space, where the run stands, and how to restore moments (None at a stage's start)."""
    if found is None:
        return *pipeline.begun(), Place(), None
    manifest = pipeline.checkpoint.manifest(found)
    names = [stage.name for stage in pipeline.stages]
    if manifest.stage not in names:
        raise CheckpointError(f"{found} stands in stage {manifest.stage!r}; this curriculum has {', '.join(names)}.")
    place = Place(manifest.step, names.index(manifest.stage), manifest.stage_step, manifest.stream)
    vocabulary = Vocabulary.of_data(manifest.vocabulary)
    return pipeline.restored(found), vocabulary, place, partial(pipeline.checkpoint.restore, found, "optimizer")


def _run_stage(pipeline: Trainable, out: Path, stage: Stage, model, place: Place, moments):
    """Trains one stage to its end and returns the model and the place after it."""
    if place.stage_step >= stage.steps:
        return model, place
    vocabulary = pipeline.vocabulary_for(stage)
    key = jax.random.fold_in(jax.random.key(pipeline.seed), place.stage)
    model = with_theta(with_vocabulary(model, vocabulary, key=key), stage.rope_theta)
    optimizer = pipeline.optimizer.build(stage)
    with stage_mesh(stage) as mesh:
        state = init_state(model, optimizer)
        if moments is not None:
            state = TrainState(state.model, moments(state.moments))
        # All of the state is committed to its devices, as a step returns it: or the second step compiles again.
        state = _replicated(state, mesh)
        _notify(pipeline, StageStarted(stage, place.stage, describe(model.attention, mesh)))
        step = make_step(pipeline.objective, optimizer, vocabulary, pipeline.optimizer.accumulate)
        with stage_stream(pipeline, place.stage, vocabulary) as stream:
            after, here = state, place
            for after, here in _steps(pipeline, stage, stream, step, state, place, mesh):
                every = pipeline.save_every
                if here.stage_step == stage.steps or (every and here.stage_step % every == 0):
                    _save(pipeline, out, stage, after, here, vocabulary)
    return after.model, here


def _steps(pipeline: Trainable, stage, stream, step, state, place, mesh) -> Iterator[tuple[TrainState, Place]]:
    """The stage's remaining steps, one at a time, each announced when its numbers are known."""
    stream_state = stream.init() if place.stream is None else place.stream
    while place.stage_step < stage.steps:
        start = time.monotonic()
        stream_state, rows = stream.next(stream_state)
        batch = to_batch(rows, state.model.attention.layout, mesh)
        state, metrics = step(state, batch)
        metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
        place = Place(place.step + 1, place.stage, place.stage_step + 1, stream_state)
        seconds = time.monotonic() - start
        tokens = stage.tokens_per_batch
        _notify(pipeline, StepFinished(place.step, stage.name, place.stage_step, seconds, tokens, metrics))
        yield state, place


def _save(pipeline: Trainable, out: Path, stage: Stage, state: TrainState, place: Place, vocabulary) -> None:
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
    )
    trees = {"model": eqx.filter(state.model, eqx.is_array), "optimizer": state.moments}
    path = pipeline.checkpoint.save(out / "checkpoints", jax.device_get(trees), manifest)
    _notify(pipeline, CheckpointSaved(path, place.step))


def _replicated(tree, mesh: Mesh | None):
    arrays, rest = eqx.partition(tree, eqx.is_array)
    where = jax.devices()[0] if mesh is None else NamedSharding(mesh, PartitionSpec())
    return eqx.combine(jax.device_put(arrays, where), rest)


def describe(attention, mesh: Mesh | None) -> str:
    """The attention's name and the mesh it runs on, for people."""
    where = "one device" if mesh is None else " x ".join(f"{k} {v}" for k, v in mesh.shape.items())
    return f"{type(attention).__name__} in {type(attention.layout).__name__} order on {where}"


def _notify(pipeline: Trainable, event) -> None:
    for observer in pipeline.observers:
        observer.notify(event)
