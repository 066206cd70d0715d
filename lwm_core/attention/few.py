"""Few queries of grouped heads: the heads of a group as more tokens of one head.

Owns the two rearrangements. A decoding step has one token and many heads that read the same keys; as tokens of the
key's own head they fill one block, and the keys are read once instead of once per query head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention.base import BlockOut
from lwm_core.attention.coords import TokenCoords


# More tokens than this fill a block of any kernel by themselves.
_FEW = 128


def regrouped(
    q: Float[Array, "B T H D"], q_at: TokenCoords, groups: int
) -> tuple[Float[Array, "B t h D"], TokenCoords]:
    """(queries, coordinates) with one head per key head where tokens are few; as they were elsewhere."""
    batch, length, heads, dim = q.shape
    ratio = heads // groups
    if ratio == 1 or length * ratio > _FEW:
        return q, q_at
    q = q.reshape(batch, length, groups, ratio, dim).swapaxes(2, 3).reshape(batch, length * ratio, groups, dim)
    return q, TokenCoords(jnp.repeat(q_at.position, ratio, axis=1), jnp.repeat(q_at.segment, ratio, axis=1))


def ungrouped(found: BlockOut, like: Float[Array, "B T H D"]) -> BlockOut:
    """What was found for `regrouped` queries, for the queries `like` that they came from."""
    batch, length, heads, dim = like.shape
    groups = found.out.shape[2]
    ratio = heads // groups
    out = found.out.reshape(batch, length, ratio, groups, dim).swapaxes(2, 3).reshape(like.shape)
    lse = found.lse.reshape(batch, groups, length, ratio).swapaxes(2, 3).reshape(batch, heads, length)
    return BlockOut(out, lse)
