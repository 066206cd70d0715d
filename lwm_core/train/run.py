"""A run: stages in order, each with its length, theta, data and mesh, checkpointed so that it can go on.

Owns the order of events. The arithmetic is `step`'s, the data `lwm_core.load`'s; where a run stands and how it is kept
are `place`'s and `keep`'s. What gates decide is the curriculum's, and what is done about it is here: a stage is over,
goes on, or begins again from the weights it began with. A resumed run gives the same bits as one never stopped.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lwm_core.checkpoint.base import CheckpointError
from lwm_core.curriculum import Fail, GateFailed, RollBack, Stage
from lwm_core.data.problems import reports
from lwm_core.evaluate.base import Evaluation
from lwm_core.load import Stream
from lwm_core.mesh import outlined, placed
from lwm_core.mesh.chips import peak_flops
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.train.back import GoBack, gone_back
from lwm_core.train.culprit import Around, refused
from lwm_core.train.feed import to_batch
from lwm_core.train.gates import before_stage, check_gates, decided, evaluated, gates_of, measured, verdict_at
from lwm_core.train.guard import Diverged
from lwm_core.train.keep import (
    Keeper,
    back_from,
    keep_beginning,
    kept_beginning,
    noted_on,
    restored_moments,
    write_recipe,
)
from lwm_core.train.observer import (
    CheckpointSaved,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
)
from lwm_core.train.place import Place
from lwm_core.train.stage import check_stages, stage_mesh, stage_stream
from lwm_core.train.step import Limited, TrainState, init_state, make_step, reported
from lwm_core.train.stopping import Stop
from lwm_core.train.together import check_alike, check_folder
from lwm_core.train.trainable import Trainable
from lwm_core.train.weights import with_theta, with_vocabulary
from lwm_core.train.work import work_of
from lwm_core.vocab import Vocabulary


class _Standing(NamedTuple):
    """What the rest of a run starts from; `moments` restores them into a like tree, None gives fresh ones.

    - `unsaved`: whether it is to be saved before its first step.
    """

    model: AbstractSequenceModel
    vocabulary: Vocabulary
    place: Place
    moments: Callable[[Any], Any] | None = None
    unsaved: bool = False


def train(
    pipeline: Trainable, out: Path, *, until: str | None = None, resume: bool = False, stop: Stop | None = None
) -> None:
    """Runs the curriculum into `out`, or goes on from its newest checkpoint.

    - `until`: the name of the stage to stop after; None runs them all;
    - `stop`: when asked, the run saves after the step under way and raises `Stopped`.

    Raises `CheckpointError` when `out` already holds a run and `resume` is False, or the other way round, and
    `GateFailed` when a stage's gates do not hold and its curriculum says to stop.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file: give the run a directory of its own.")
    found = pipeline.checkpoint.latest(out / "checkpoints")
    check_alike(pipeline, out, found, until)
    if (found is not None) != resume:
        wrong = f"{out} already holds a run: resume it, or" if found else f"{out} holds no checkpoint to resume:"
        raise CheckpointError(f"{wrong} give another directory.")
    stages = pipeline.stages
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise ValueError(f"No stage {until!r}: this curriculum has {', '.join(names)}.")
    with stage_mesh(stages[0]):
        now = _start(pipeline, out, found)
    last = len(stages) if until is None else names.index(until) + 1
    check_stages(pipeline, range(now.place.stage, last), now.model, now.vocabulary)
    check_gates(pipeline, stages[now.place.stage : last])
    if not resume:
        write_recipe(pipeline, out)
    check_folder(out)
    _notify(pipeline, RunStarted(out, now.place.steps(stages), now.place.step, pipeline.recipe))
    back = back_from(out, found, now.place)
    keeper = Keeper(pipeline, out, lambda path, step: _notify(pipeline, CheckpointSaved(path, step)), stop, back)
    try:
        while now.place.stage < last:
            now = _after_stage(pipeline, keeper, now)
        keeper.settle()
    except BaseException as error:
        keeper.let_go(error)
        with noted_on(error):  # a full disk fails whoever writes of the failure, too
            _notify(pipeline, RunFailed(error, now.place.step))
        raise
    _notify(pipeline, RunFinished(out, now.place.step))


def _start(pipeline: Trainable, out: Path, found: Path | None) -> _Standing:
    """Where a new run begins, or where checkpoint `found` left off."""
    if found is None:
        return _Standing(*pipeline.begun(), Place())
    manifest = pipeline.checkpoint.manifest(found)
    place = Place.of(manifest, [stage.name for stage in pipeline.stages])
    stage, vocabulary = pipeline.stages[place.stage], Vocabulary.of_data(manifest.vocabulary)
    verdict = verdict_at(place, stage)
    if verdict == "roll-back":
        return _begun_again(pipeline, out, place)
    ended = place.stage_step >= stage.steps + place.gates.more
    if ended and (verdict == "advance" or not gates_of(pipeline, stage)):
        return _Standing(_restored(pipeline, found, place.stage + 1), vocabulary, place.following())
    moments = partial(restored_moments, pipeline, found)
    return _Standing(_restored(pipeline, found, place.stage), vocabulary, place, moments)


def _begun_again(pipeline: Trainable, out: Path, place: Place) -> _Standing:
    """The beginning of the stage under way, after a roll-back."""
    path, vocabulary = kept_beginning(pipeline, out)
    model = _restored(pipeline, path, place.stage)
    return _Standing(model, vocabulary, replace(place, stage_step=0, stream=None, guard=place.guard.following()))


def _restored(pipeline: Trainable, path: Path, stage: int) -> AbstractSequenceModel:
    """The model in a checkpoint, read to where stage number `stage` has its weights: whole on no host."""
    with stage_mesh(pipeline.stages[min(stage, len(pipeline.stages) - 1)]) as mesh:
        return pipeline.restored(path, partial(outlined, mesh=mesh, rules=pipeline.placement))


def _after_stage(pipeline: Trainable, keeper: Keeper, now: _Standing) -> _Standing:
    """What comes after a stage, or where its guard says to go on."""
    try:
        return _run_stage(pipeline, keeper, now)
    except GoBack as back:
        place, event = back.place, back.event
    # Here the weights and moments of the stage are let go: there need not be room for two of them.
    stage = pipeline.stages[place.stage]
    with stage_mesh(stage):
        before = _start(pipeline, keeper.out, keeper.back())
    place, event = gone_back(place, event, before.place, stage.rows)
    _notify(pipeline, event)
    return before._replace(place=place, unsaved=True)


def _run_stage(pipeline: Trainable, keeper: Keeper, now: _Standing) -> _Standing:
    """Trains a stage to its end and asks its gates; returns what comes next, which may be more of the same stage."""
    stage, place = pipeline.stages[now.place.stage], now.place
    stage = replace(stage, **place.gates.changes)
    vocabulary = pipeline.vocabulary_for(stage)
    optimizer = pipeline.optimizer.build(stage)
    with stage_mesh(stage) as mesh:
        if gates_of(pipeline, stage) and not place.gates.before:
            place = _entered(pipeline, keeper.out, stage, now, mesh)
        key = jax.random.fold_in(jax.random.key(pipeline.seed), place.stage)
        model = with_theta(with_vocabulary(now.model, vocabulary, key=key), stage.rope_theta)
        state = init_state(model, optimizer)
        if now.moments is not None:
            state = TrainState(state.model, now.moments(state.moments))
        # All of the state is committed to its devices, as a step returns it: or the second step compiles again.
        state = placed(state, mesh, pipeline.placement)
        left_out = reports({name: pipeline.sources[name] for name in stage.mixture})
        _notify(pipeline, StageStarted(stage, place.stage, describe(model.attention, mesh), left_out))
        step = make_step(pipeline.objective, optimizer, vocabulary, pipeline.optimizer.accumulate, pipeline.placement)
        if now.unsaved:
            keeper.save(stage, state, place, vocabulary)
        state, place = _trained(pipeline, keeper, stage, step, state, place, vocabulary, mesh)
        if not gates_of(pipeline, stage):
            return _Standing(state.model, vocabulary, place.following())
        return _judged(pipeline, keeper, stage, state, place, vocabulary)


def _trained(pipeline: Trainable, keeper: Keeper, stage: Stage, step, state, place: Place, vocabulary, mesh):
    """State and place after the stage's remaining steps, saved on the way and at the end."""
    last, every = stage.steps + place.gates.more, pipeline.save_every
    if place.stage_step >= last:
        return state, place
    with _stream(pipeline, place, vocabulary) as stream:
        after, here = state, place
        for after, here in _steps(pipeline, keeper.out, stage, last, stream, step, state, place, mesh):
            due = here.stage_step == last or (every > 0 and here.stage_step % every == 0)
            keeper.after_step(stage, after, here, vocabulary, due=due)
    return after, here


def _stream(pipeline: Trainable, place: Place, vocabulary: Vocabulary) -> Stream:
    """The stage's rows; in another order after each roll-back that asks for one."""
    stream, times = stage_stream(pipeline, place.stage, vocabulary), place.gates.reseeds
    if not times:
        return stream
    return replace(stream, seed=int(np.random.SeedSequence([stream.seed, times]).generate_state(1)[0]))


def _steps(
    pipeline: Trainable, out: Path, stage, last, stream, step, state, place, mesh
) -> Iterator[tuple[TrainState, Place]]:
    """The stage's remaining steps, one at a time, each announced when its numbers are known."""
    stream_state = stream.init() if place.stream is None else place.stream
    guard = pipeline.guard
    peak = peak_flops(jax.devices()[:1] if mesh is None else mesh.devices.flat)
    while place.stage_step < last:
        start = time.monotonic()
        stream_state, rows = stream.next(stream_state)
        batch = to_batch(rows, state.model.attention.layout, mesh, stage.uneven)
        limit = None if guard is None else jnp.float32(guard.limit(place.guard))
        state, metrics = step(state, batch if limit is None else Limited(batch, limit))
        work = work_of(rows, pipeline.objective, state.model)  # meanwhile
        metrics = reported(metrics)
        was, place = place, replace(place, step=place.step + 1, stage_step=place.stage_step + 1, stream=stream_state)
        seconds = time.monotonic() - start
        tokens = stage.tokens_per_batch
        done = place.step, stage.name, place.stage_step, seconds, tokens, metrics
        _notify(pipeline, StepFinished(*done, work.pairs, work.flops, peak))
        if guard is not None:
            place = replace(place, guard=guard.after(was.guard, metrics))
            if metrics["refused"]:
                around = Around(stream, was.stream or stream.init(), stream_state)
                event = refused(pipeline, out, stage, was, metrics, state.model, rows, batch, around)
                if event.verdict == "roll-back":
                    raise GoBack(place, event)
                _notify(pipeline, event)
                if event.verdict == "stop":
                    raise Diverged(f"{event.reason} It began in {event.layer}; the rows are in {event.batch}.")
        yield state, place


def _entered(pipeline: Trainable, out: Path, stage: Stage, now: _Standing, mesh: Mesh | None) -> Place:
    """The place with what the gates measure before the stage; its weights are kept in case it must begin again."""
    gates, model = gates_of(pipeline, stage), placed(now.model, mesh, pipeline.placement)
    before = before_stage(gates, measured(pipeline, gates, model, now.vocabulary))
    keep_beginning(pipeline, out, stage, model, now.place, now.vocabulary)
    return replace(now.place, gates=replace(now.place.gates, before=before))


def _judged(
    pipeline: Trainable, keeper: Keeper, stage: Stage, state: TrainState, place: Place, vocabulary
) -> _Standing:
    """Measures the gates at the stage's end, keeps the decision in the checkpoint, and does as it says."""

    def heard(name: str, evaluation: Evaluation) -> None:
        _notify(pipeline, evaluated(pipeline, stage, place.step, name, evaluation))

    values = measured(pipeline, gates_of(pipeline, stage), state.model, vocabulary, heard)
    decision, gates, event = decided(pipeline, stage, place, values)
    place = replace(place, gates=gates)
    keeper.save(stage, state, place, vocabulary)
    keeper.settle()
    _notify(pipeline, event)
    if isinstance(decision, Fail):
        raise GateFailed(f"Stage {stage.name!r} does not pass its gates: {decision.reason}")
    if isinstance(decision, RollBack):
        return _begun_again(pipeline, keeper.out, place)
    if event.verdict == "advance":
        return _Standing(state.model, vocabulary, place.following())
    return _Standing(state.model, vocabulary, place, lambda like: state.moments)


def describe(attention, mesh: Mesh | None) -> str:
    """The attention's name and the mesh it runs on, for people."""
    where = "one device" if mesh is None else " x ".join(f"{k} {v}" for k, v in mesh.shape.items())
    return f"{type(attention).__name__} in {type(attention.layout).__name__} order on {where}"


def _notify(pipeline: Trainable, event: Event) -> None:
    if jax.process_index() == 0:
        for observer in pipeline.observers:
            observer.notify(event)
