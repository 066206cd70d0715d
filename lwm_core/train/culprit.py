"""Whose fault a refused step was: which layer it began in, which documents it was made of, and its rows in a file.

Owns the search, which runs only when a step was refused, with the weights from before it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.curriculum import Stage
from lwm_core.data import Row
from lwm_core.load import Stream
from lwm_core.load.blocks import Draws
from lwm_core.mesh import constrain, spread
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import Batch, SaysWhatIsSeen
from lwm_core.objective.scores import seen
from lwm_core.train.observer import StepGuarded
from lwm_core.train.place import Place
from lwm_core.train.step import micro_batches
from lwm_core.train.trainable import Trainable
from lwm_core.vocab import Vocabulary


FIELDS = ("tokens", "segment", "position", "loss")
STACKED = "blocks"  # the part of a model whose arrays have a leading axis of layers
BACK = 64  # draws of a source before the step that its rows may hold pieces of


class Around(NamedTuple):
    """A stream, and its states before and after a step."""

    stream: Stream
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def refused(
    pipeline: Trainable,
    out: Path,
    stage: Stage,
    was: Place,
    metrics: Mapping[str, float],
    model: AbstractSequenceModel,
    rows: Sequence[Row],
    batch: Batch,
    around: Around,
) -> StepGuarded:
    """What to tell of the step after place `was`, which the guard refused; its rows are kept in `out/guard`."""
    assert pipeline.guard is not None
    step = was.step + 1
    verdict, reason = pipeline.guard.verdict(was.guard, metrics)
    layer, tensors = layer_at_fault(pipeline, model, batch, pipeline.vocabulary_for(stage), metrics)
    documents = documents_of(rows, around)
    facts = {"step": step, "stage": stage.name, "verdict": verdict, "reason": reason, "layer": layer}
    facts |= {"tensors": list(tensors), "documents": list(documents), "stream": around.before}
    path = keep_rows(out / "guard", step, rows, facts)
    return StepGuarded(step, stage.name, was.stage_step + 1, verdict, reason, layer, tensors, documents, path)


def layer_at_fault(
    pipeline: Trainable,
    model: AbstractSequenceModel,
    batch: Batch,
    vocabulary: Vocabulary,
    metrics: Mapping[str, float],
) -> tuple[str, tuple[str, ...]]:
    """Where it began, for people, and the arrays that are not finite: of the weights, or else of the gradient.

    The micro-batches of the step are looked at in turn, so that this takes no more memory than the step. The gradient
    is looked at in the order in which it is computed: head first, first layer and embedding last.
    """
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    bad = _named(eqx.filter_jit(_finite)(weights))
    if bad:
        return f"the weights: {_spelt(*next(iter(bad.items())))}", tuple(bad)
    if math.isfinite(metrics["loss"]) and math.isfinite(metrics["gradient_norm"]):
        return "no array: the loss alone", ()
    accumulate = pipeline.optimizer.accumulate

    @eqx.filter_jit
    def gradient(weights, batch, number):
        def total(weights):
            return pipeline.objective(eqx.combine(weights, rest), part, vocabulary).total

        part = jax.tree.map(lambda x: x[number], micro_batches(batch, accumulate))
        loss, grads = jax.value_and_grad(total)(weights)
        return jnp.isfinite(loss), _finite(spread(grads, pipeline.placement))

    for number in range(accumulate):
        sound, finite = gradient(weights, batch, jnp.int32(number))
        bad = _named(finite)
        if not sound:
            return _forwards(pipeline, model, batch, number), tuple(bad)
        if bad:
            return _backwards(bad), tuple(bad)
    return "no array: the sums over all of them alone", ()


def _finite(tree: Any) -> Any:
    """For each array whether all of it is finite, those of layers apart; wherever it lies, every process knows."""

    def finite(path, x):
        found = jnp.isfinite(x).all(axis=tuple(range(_axes(path), x.ndim)))
        return constrain(found, *(None for _ in found.shape))

    return jax.tree_util.tree_map_with_path(finite, tree)


def _named(finite: Any) -> dict[str, list[int]]:
    """Names of arrays that hold what is not finite → in which layers; an empty list where it is of no layer."""
    leaves = jax.tree_util.tree_leaves_with_path(finite)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(ok) for path, ok in leaves}
    return {
        name: [int(n) for n in np.flatnonzero(~ok)] if ok.ndim else [] for name, ok in named.items() if not ok.all()
    }


def _axes(path) -> int:
    return int(getattr(path[0], "name", None) == STACKED)


def _spelt(name: str, layers: Sequence[int]) -> str:
    return f"{name} of layer {layers[0]}" if layers else name


def _backwards(bad: Mapping[str, Sequence[int]]) -> str:
    """Where a gradient went wrong first on its way back."""
    layers = [layer for found in bad.values() for layer in found]
    first = [name for name, found in bad.items() if not found and "embed" not in name]
    if first or not layers:
        return f"{(first or list(bad))[0]}, backwards"
    return f"layer {max(layers)}, backwards"


def _forwards(pipeline: Trainable, model: AbstractSequenceModel, batch: Batch, number: int) -> str:
    """The first layer whose states are not finite: they stay so from there on, which makes halving enough."""
    blocks, objective = getattr(model, STACKED, None), pipeline.objective
    if blocks is None or not isinstance(objective, SaysWhatIsSeen):
        return "somewhere forwards"

    def finite(layers: int) -> bool:
        @eqx.filter_jit
        def states(model, batch, number):
            part = jax.tree.map(lambda x: x[number], micro_batches(batch, pipeline.optimizer.accumulate))
            at = seen(part, "none" if objective.mask == "none" else "segment")
            some = jax.tree.map(lambda x: x[:layers] if eqx.is_array(x) else x, blocks_of(model))
            found = eqx.tree_at(blocks_of, model, some).hidden(part.tokens, at, objective.rule).states
            return jnp.isfinite(jnp.where(at.segment[..., None] > 0, found, 0)).all()

        return bool(states(model, batch, jnp.int32(number)))

    def blocks_of(model):
        return getattr(model, STACKED)

    low, high = 0, jax.tree.leaves(blocks)[0].shape[0]
    if not finite(low):
        return "the embedding, forwards"
    if finite(high):
        return "the head and the loss, forwards"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if finite(middle) else (low, middle)
    return f"layer {high - 1}, forwards"


def documents_of(rows: Sequence[Row], around: Around) -> tuple[dict[str, Any], ...]:
    """For each segment of the rows the document it is a piece of, found by its tokens among the latest draws.

    A piece that waited longer than these has the source None.
    """
    found = []
    samples = [sample for name in around.stream.mixture for sample in _latest(name, around)]
    for number, row in enumerate(rows):
        for segment in range(1, int(row.segment.max(initial=0)) + 1):
            piece = row.tokens[row.segment == segment].astype(np.int32)
            source, name = next(((s, n) for s, n, tokens in samples if _holds(tokens, piece)), (None, None))
            found.append({"row": number, "segment": segment, "tokens": len(piece), "source": source, "name": name})
    return tuple(found)


def _latest(name: str, around: Around) -> Iterator[tuple[str, str, np.ndarray]]:
    """(source, document's name, tokens) of a source's latest draws."""
    stream = around.stream
    first, last = (
        next(lane["sources"][name]["drawn"] for lane in state["lanes"].values() if name in lane["sources"])
        for state in (around.before, around.after)
    )
    draws = Draws(name, stream.sources[name], stream.seed, stream.shuffle, stream.shard)
    for document in draws.documents(range(max(0, first - BACK), last + 1)):
        sample = stream.render(document)
        if sample is not None:
            yield name, document.name, np.asarray(sample.tokens, np.int32)


def _holds(tokens: np.ndarray, piece: np.ndarray) -> bool:
    text, part = tokens.tobytes(), piece.tobytes()
    place = text.find(part)
    while place >= 0 and place % 4:
        place = text.find(part, place + 1)
    return place >= 0


def keep_rows(folder: Path, step: int, rows: Sequence[Row], facts: Mapping[str, Any]) -> Path:
    """Writes the rows of a step and what is known of it; returns the file for `rows_in`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.npz"
    if jax.process_index() == 0:
        columns = {name: np.stack([getattr(row, name) for row in rows]) for name in FIELDS}
        np.savez_compressed(path, allow_pickle=False, **columns)
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1), "utf-8")
    return path


def rows_in(path: Path) -> list[Row]:
    """The rows that `keep_rows` wrote, to look at or to train on again (`lwm_core.train.feed.to_batch`)."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in FIELDS]
    return [Row(*(column[n] for column in columns)) for n in range(len(columns[0]))]
