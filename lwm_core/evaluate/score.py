"""What a model says of given rows: the loss of every token, or the best next id at chosen places.

Owns batching rows for evaluators under the ambient mesh and the attention's layout: results come back in
document order. It never holds B×T×V scores. What to measure is an evaluator's business.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int32, Integer

from lwm_core.attention import Visibility
from lwm_core.data import Row
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.train.feed import to_batch


def ambient_mesh() -> Mesh | None:
    """The mesh of `jax.set_mesh`, or None outside any."""
    mesh = jax.sharding.get_mesh()
    return None if mesh.empty else mesh


def batches(rows: Sequence[Row], tokens: int) -> Iterator[tuple[list[Row], int]]:
    """Rows of one length in batches of one size, and how many of each batch are not filling.

    A batch holds about `tokens` tokens, at least one row, and divides over the mesh's dp × fsdp; the last one is
    filled with copies, so that each length compiles once.
    """
    if not rows:
        return
    mesh = ambient_mesh()
    share = 1 if mesh is None else mesh.shape["dp"] * mesh.shape["fsdp"]
    wanted = min(len(rows), max(1, tokens // len(rows[0].tokens)))
    size = -(-wanted // share) * share
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        yield part + [part[-1]] * (size - len(part)), len(part)


def token_losses(
    model: AbstractSequenceModel, rows: Sequence[Row], *, rule: Visibility | None = None, chunk: int = 1024
) -> Float32[np.ndarray, "B T"]:
    """Negative log-likelihood (nats) of each row's token t at t; 0 where nothing predicts it.

    That is the first token of each document, and padding. Scores exist for `chunk` tokens of each row at a time.
    """
    batch, order = _batch(model, rows)
    losses = np.asarray(_losses(model, batch, rule or Visibility(), min(chunk, batch.tokens.shape[1])))
    result = np.zeros_like(losses)
    result[:, 1:] = losses[:, np.argsort(order)][:, :-1]
    segment = np.stack([row.segment for row in rows])
    result[:, 1:] *= (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] != 0)
    return result


def best_next(
    model: AbstractSequenceModel,
    rows: Sequence[Row],
    places: Integer[np.ndarray, "B A"],
    *,
    rule: Visibility | None = None,
) -> Int32[np.ndarray, "B A"]:
    """The id with the highest score to follow the token at each of `places`: one forward, A scores a row."""
    batch, order = _batch(model, rows)
    slots = np.argsort(order)[places].astype(np.int32)
    return np.asarray(_best(model, batch, jnp.asarray(slots), rule or Visibility()))


def _batch(model, rows: Sequence[Row]):
    mesh, layout = ambient_mesh(), model.attention.layout
    order = layout.permutation(len(rows[0].tokens), 1 if mesh is None else mesh.shape["sp"])
    return to_batch(rows, layout, mesh), order


@eqx.filter_jit
def _losses(model, batch, rule, chunk):
    states = model.hidden(batch.tokens, batch.at, rule).states
    rows, length, _ = states.shape
    pad = -length % chunk

    def chunks(x):
        x = jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2))
        return x.reshape(rows, -1, chunk, *x.shape[2:]).swapaxes(0, 1)

    losses = jax.lax.map(partial(_chunk_losses, model), (chunks(states), chunks(batch.targets)))
    return losses.swapaxes(0, 1).reshape(rows, length + pad)[:, :length]


def _chunk_losses(model, now):
    states, targets = now
    logits = model.logits(states).astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


@eqx.filter_jit
def _best(model, batch, slots, rule):
    states = model.hidden(batch.tokens, batch.at, rule).states
    chosen = jnp.take_along_axis(states, slots[..., None], axis=1)
    return jnp.argmax(model.logits(chosen), axis=-1).astype(jnp.int32)
