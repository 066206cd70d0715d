"""The loss of every target of a batch, a chunk of tokens at a time, and which tokens see which meanwhile.

Owns what every cross-entropy shares. No B×T×V array exists in the forward pass or the backward: each chunk's scores
are made, used and recomputed. How much a target counts is the objective's business.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.mesh import pieces
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import Batch
from lwm_core.vocab import Vocabulary


Mask = Literal["segment", "none"]
Normalise = Literal["joint", "per-modality"]


class Scored(NamedTuple):
    """For each target, its negative log-likelihood and the logarithm of the softmax's denominator."""

    loss: Float32[Array, "B T"]
    log_z: Float32[Array, "B T"]


def check_chunk(name: str, chunk: int) -> None:
    if chunk < 1:
        raise ValueError(f"{name}(chunk={chunk}): give a positive number of tokens.")


def check_choice(name: str, option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}({option}={value!r}): give {' or '.join(allowed)}.")


def seen(batch: Batch, mask: Mask) -> TokenCoords:
    """The coordinates that attention goes by: documents apart, or (mask "none") each row as one long document."""
    if mask == "segment":
        return batch.at
    if batch.origin is None:
        raise ValueError("mask='none' needs Batch.origin, the place of each token in its row: use to_batch.")
    filled = batch.at.segment > 0
    return TokenCoords(jnp.where(filled, batch.origin.slot, 0), filled.astype(jnp.int32))


def score(
    model: AbstractSequenceModel,
    batch: Batch,
    vocabulary: Vocabulary,
    *,
    rule: Visibility,
    mask: Mask,
    normalise: Normalise,
    chunk: int,
) -> Scored:
    """Scores of all targets; 0 for those of weight 0.

    - `chunk`: tokens of each row, on each device, whose scores over the id space exist at a time;
    - `normalise`: over the whole id space, or within the target's own modality.
    """
    states = model.hidden(batch.tokens, seen(batch, mask), rule).states
    rows, length, _ = states.shape
    chunk = min(chunk * pieces("sequence", length), length)
    pad = -length % chunk

    def chunks(x):
        # Strided, so that a chunk takes its share of every sequence shard and none has to be gathered.
        x = jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(rows, chunk, -1, *x.shape[2:]), 2, 0)

    def whole(x):
        return jnp.where(batch.weights > 0, jnp.moveaxis(x, 0, 2).reshape(rows, -1)[:, :length], 0)

    stops = np.cumsum([m.size for m in vocabulary.modalities]) if normalise == "per-modality" else None
    one = jax.checkpoint(lambda _, now: (None, _scored(model.logits(now[0]), now[1], stops)))
    _, found = jax.lax.scan(one, None, (chunks(states), chunks(batch.targets)))
    return Scored(whole(found.loss), whole(found.log_z))


def _scored(logits, targets, stops) -> Scored:
    logits = logits.astype(jnp.float32)
    if stops is not None:
        modality = jnp.searchsorted(stops, targets, side="right")
        own = jnp.searchsorted(stops, jnp.arange(logits.shape[-1]), side="right") == modality[..., None]
        logits = jnp.where(own, logits, -jnp.inf)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    return Scored(log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0], log_z)
