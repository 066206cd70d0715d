"""Whose fault a refused step was: which layer it began in, which documents it was made of, and its rows in a file.

Owns the search, which runs only when a step was refused, with the weights from before it.
"""

import json
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
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective, Batch, SaysWhatIsSeen
from lwm_core.objective.scores import seen
from lwm_core.train.observer import StepGuarded
from lwm_core.train.place import Place
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
    layer, tensors = layer_at_fault(pipeline.objective, model, batch, pipeline.vocabulary_for(stage))
    documents = documents_of(rows, around)
    facts = {"step": step, "stage": stage.name, "verdict": verdict, "reason": reason, "layer": layer}
    facts |= {"tensors": list(tensors), "documents": list(documents), "stream": around.before}
    path = keep_rows(out / "guard", step, rows, facts)
    return StepGuarded(step, stage.name, was.stage_step + 1, verdict, reason, layer, tensors, documents, path)


def layer_at_fault(
    objective: AbstractObjective, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary
) -> tuple[str, tuple[str, ...]]:
    """Where it began, for people, and the arrays that are not finite: of the weights, or else of the gradient.

    The gradient is looked at in the order in which it is computed: head first, first layer and embedding last.
    """
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    bad = not_finite(weights)
    if bad:
        return f"the weights: {_spelt(*next(iter(bad.items())))}", tuple(bad)

    @eqx.filter_jit
    def gradient(weights):
        return jax.value_and_grad(lambda w: objective(eqx.combine(w, rest), batch, vocabulary).mean)(weights)

    loss, grads = gradient(weights)
    bad = not_finite(grads)
    if not jnp.isfinite(loss):
        return _forwards(objective, model, batch), tuple(bad)
    if not bad:
        return "no array: the loss alone", ()
    layers = [layer for found in bad.values() for layer in found]
    first = [name for name, found in bad.items() if not found and "embed" not in name]
    if first or not layers:
        return f"{(first or list(bad))[0]}, backwards", tuple(bad)
    return f"layer {max(layers)}, backwards", tuple(bad)


def not_finite(tree: Any) -> dict[str, list[int]]:
    """Names of arrays that hold what is not finite → in which layers; an empty list where it is of no layer."""

    @eqx.filter_jit
    def finite(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.isfinite(x).all(axis=tuple(range(_axes(path), x.ndim))), tree
        )

    leaves = jax.tree_util.tree_leaves_with_path(finite(tree))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(ok) for path, ok in leaves}
    return {
        name: [int(n) for n in np.flatnonzero(~ok)] if ok.ndim else [] for name, ok in named.items() if not ok.all()
    }


def _axes(path) -> int:
    return int(getattr(path[0], "name", None) == STACKED)


def _spelt(name: str, layers: Sequence[int]) -> str:
    return f"{name} of layer {layers[0]}" if layers else name


def _forwards(objective: AbstractObjective, model: AbstractSequenceModel, batch: Batch) -> str:
    """The first layer whose states are not finite: they stay so from there on, which makes halving enough."""
    blocks = getattr(model, STACKED, None)
    if blocks is None or not isinstance(objective, SaysWhatIsSeen):
        return "somewhere forwards"
    at = seen(batch, "none" if objective.mask == "none" else "segment")

    def finite(layers: int) -> bool:
        some = jax.tree.map(lambda x: x[:layers] if eqx.is_array(x) else x, blocks)
        part = eqx.tree_at(lambda m: getattr(m, STACKED), model, some)
        states = eqx.filter_jit(lambda m: m.hidden(batch.tokens, at, objective.rule).states)(part)
        return bool(jnp.isfinite(jnp.where(at.segment[..., None] > 0, states, 0)).all())

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
        np.savez_compressed(path, **{name: np.stack([getattr(row, name) for row in rows]) for name in FIELDS})
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1), "utf-8")
    return path


def rows_in(path: Path) -> list[Row]:
    """The rows that `keep_rows` wrote, to look at or to train on again (`lwm_core.train.feed.to_batch`)."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in FIELDS]
    return [Row(*(column[n] for column in columns)) for n in range(len(columns[0]))]
