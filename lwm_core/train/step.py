"""One training step: gradients, accumulated over micro-batches, and an optimiser update.

Owns the arithmetic of a step and nothing of where batches come from. Numerators and denominators are summed
over every micro-batch and shard before the one division, so accumulation never changes the loss.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from lwm_core.mesh import Rules, spread
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective, Batch
from lwm_core.vocab import Vocabulary


LOSS, TOKENS = "loss/", "tokens/"  # what the names of a part's metrics begin with


class Limited(NamedTuple):
    """A batch that is learnt from only when loss and gradient are finite and the loss is at most `limit`."""

    batch: Batch
    limit: jax.Array


class TrainState(NamedTuple):
    """What a step changes: the model and the optimiser's moments."""

    model: AbstractSequenceModel
    moments: Any


class Step(NamedTuple):
    """`step(state, batch) -> (state, metrics)`, compiled when it is first called; it consumes the state it is given."""

    function: Callable[[Batch | Limited, TrainState], tuple[TrainState, dict[str, jax.Array]]]
    compiled: Callable[[Batch | Limited, TrainState], tuple[TrainState, dict[str, jax.Array]]]

    def __call__(self, state: TrainState, batch: Batch | Limited) -> tuple[TrainState, dict[str, jax.Array]]:
        return self.compiled(batch, state)

    def lowered(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        """The step for outlines of arrays (`lwm_core.mesh.outlined`), ready to be compiled and never to be run."""
        arrays, rest = eqx.partition(state, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

        def step(arrays, batch):
            return eqx.filter(self.function(batch, eqx.combine(arrays, rest)), eqx.is_array)

        return jax.jit(step, donate_argnums=0).lower(arrays, batch)


def init_state(model: AbstractSequenceModel, optimizer: optax.GradientTransformation) -> TrainState:
    """Fresh moments for the model's float arrays."""
    return TrainState(model, optimizer.init(eqx.filter(model, eqx.is_inexact_array)))


def make_step(
    objective: AbstractObjective,
    optimizer: optax.GradientTransformation,
    vocabulary: Vocabulary,
    accumulate: int = 1,
    placement: Rules | None = None,
) -> Step:
    """A compiled step; under a mesh, weights, moments and gradients keep to their places (`lwm_core.mesh`).

    - `accumulate`: micro-batches that the step's rows are cut into, each of every device's rows;
    - `placement`: rules for arrays that are to lie otherwise than their fields declare.

    Metrics: `loss`, `targets` (how many tokens count), `segments` (documents and pieces of them), `loss/<part>` and
    `tokens/<part>` for each part of the objective, `gradient_norm`, `update_norm`, `parameter_norm`; `reported`
    brings them to the host. A step without a target changes nothing, bit for bit: no decay, no moment, no turn of the
    schedule. Nor does a step of a `Limited` batch that is refused, which the metric `refused` says.
    """

    def loss_of(model, batch):
        return objective(model, batch, vocabulary)

    def step(given: Batch | Limited, state: TrainState):
        batch, limit = given if isinstance(given, Limited) else (given, None)
        weights, rest = eqx.partition(state.model, eqx.is_inexact_array)
        grads, loss = _gradients(loss_of, weights, rest, batch, accumulate, placement)
        targets = jnp.count_nonzero(batch.weights)
        learns = (targets > 0) & (loss.denominator > 0)
        grads = jax.tree.map(lambda g: g / jnp.where(learns, loss.denominator, 1), grads)
        norms = {"gradient_norm": optax.tree.norm(grads)}
        refusal = {}
        if limit is not None:
            sound = jnp.isfinite(norms["gradient_norm"]) & (loss.mean <= limit)  # nothing that is NaN is below a limit
            refusal = {"refused": learns & ~(sound & jnp.isfinite(loss.mean))}
            learns &= ~refusal["refused"]
        updates, moments = optimizer.update(grads, state.moments, weights)
        updates = jax.tree.map(lambda u: jnp.where(learns, u, 0), updates)
        moments = jax.tree.map(lambda new, old: jnp.where(learns, new, old), moments, state.moments)
        weights = eqx.apply_updates(weights, updates)
        segments = batch.at.segment.max(axis=1).sum()  # numbered from 1 in each row
        metrics = {"loss": loss.mean, "targets": targets, "segments": segments}
        norms |= {"update_norm": optax.tree.norm(updates), "parameter_norm": optax.tree.norm(weights)}
        metrics |= norms | refusal
        for name, part in loss.parts.items():
            metrics |= {f"{LOSS}{name}": part.total / part.weight, f"{TOKENS}{name}": part.tokens}
        return spread(TrainState(eqx.combine(weights, rest), moments), placement), metrics

    return Step(step, eqx.filter_jit(step, donate="all-except-first"))


def reported(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """A step's metrics as plain numbers on the host, without the parts that had no target."""
    found = {name: float(value) for name, value in jax.device_get(metrics).items()}
    absent = {name.removeprefix(TOKENS) for name, value in found.items() if name.startswith(TOKENS) and not value}
    return {name: value for name, value in found.items() if _part(name) not in absent}


def _part(metric: str) -> str | None:
    """The part that a metric is of, or None."""
    head, slash, name = metric.partition("/")
    return name if head + slash in (LOSS, TOKENS) else None


def check_accumulate(rows: int, accumulate: int) -> None:
    """Raises `ValueError` when a step's rows cannot be cut into so many micro-batches."""
    if accumulate < 1 or rows % accumulate:
        raise ValueError(
            f"{rows} rows a step do not divide into accumulate = {accumulate} micro-batches: give a divisor of {rows}."
        )


def micro_batches(batch: Batch, accumulate: int) -> Batch:
    """The rows of a step in so many micro-batches, which are a leading axis; for use inside `jit`."""
    check_accumulate(batch.tokens.shape[0], accumulate)
    # Every accumulate-th row, so that each device finds rows of its own in each micro-batch.
    return jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)


def _gradients(loss_of, weights, rest, batch, accumulate, placement):
    """Summed (not averaged) gradients and loss over the micro-batches."""

    def total(weights, part):
        loss = loss_of(eqx.combine(weights, rest), part)
        return loss.total, loss

    def gradient(weights, part):
        grads, loss = jax.grad(total, has_aux=True)(weights, part)
        return spread(grads, placement), loss

    if accumulate == 1:
        return gradient(weights, batch)
    parts = micro_batches(batch, accumulate)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), parts)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(gradient, weights, first))

    def add(sums, part):
        grads, loss = jax.tree.map(jnp.add, sums, gradient(weights, part))
        return (spread(grads, placement), loss), None

    return jax.lax.scan(add, zero, parts)[0]
