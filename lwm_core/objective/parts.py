"""A loss broken down by modality, by length of the document and by place in the row.

Owns the usual parts and their names; an objective may have others. They are sums over numbers that exist anyway,
one a token: nothing here is differentiated, gathered or as large as the scores.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32

from lwm_core.objective.base import Batch, Part
from lwm_core.vocab import Vocabulary


DECILES = 10
SHORTEST = 64  # tokens; the first bucket of lengths ends here, and each next one at twice as many


def parts_of(batch: Batch, losses: Float32[Array, "B T"], vocabulary: Vocabulary) -> dict[str, Part]:
    """The parts of a batch from the loss of each target, in the batch's own weights.

    - a modality's name: targets of it;
    - `length/65-128`: targets within segments of so many tokens, see `length_buckets`. A segment is the piece of a
      document that is in the row;
    - `position/0` to `position/9`: by the tenth of the row in which the predicting token stands.
    """
    losses, weights = jax.lax.stop_gradient((losses, batch.weights))
    length = losses.shape[1]
    stops = np.cumsum([m.size for m in vocabulary.modalities])
    found = _between(vocabulary.names, stops - 1, batch.targets, losses, weights)
    if batch.origin is None:
        return found
    ends = length_buckets(length)
    names = [f"length/{a + 1}-{b}" for a, b in zip([0, *ends], ends, strict=False)]
    found |= _between(names, ends, batch.origin.length, losses, weights)
    tenths = -(-np.arange(1, DECILES + 1) * length // DECILES) - 1  # the last slot of each, exactly
    return found | _between([f"position/{d}" for d in range(DECILES)], tenths, batch.origin.slot, losses, weights)


def length_buckets(length: int) -> list[int]:
    """The longest segment of each bucket: 64, 128, 256, ... up to the first that a row of `length` tokens ends in."""
    ends = [SHORTEST]
    while ends[-1] < length:
        ends.append(2 * ends[-1])
    return ends


def _between(names: Sequence[str], lasts, value, losses, weights) -> dict[str, Part]:
    """A part for each name: the tokens whose value is above the last one before, up to its own."""
    lasts = jnp.asarray(np.asarray(lasts), value.dtype)[:, None, None]
    firsts = jnp.concatenate([jnp.full_like(lasts[:1], -1), lasts[:-1]])
    return _summed(names, (value > firsts) & (value <= lasts) & (weights > 0), losses, weights)


def _summed(names: Sequence[str], inside: Bool[Array, "K B T"], losses, weights) -> dict[str, Part]:
    # Compared and summed in one loop by XLA; a scatter would be slower, and a one-hot matrix would exist.
    total, weight = (jnp.where(inside, x, 0).sum((1, 2)) for x in (weights * losses, weights))
    tokens = inside.sum((1, 2), dtype=jnp.int32)
    return {name: Part(total[k], weight[k], tokens[k]) for k, name in enumerate(names)}
