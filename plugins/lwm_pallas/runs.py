"""Which blocks meet which, as runs: what the visit tables of every kernel here are made of.

Owns the order of inner blocks in which an outer block's neighbours are adjacent, and where each run begins and ends.
How a table lies in memory is each kernel's own.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from lwm_core.attention import Extent


class Runs(NamedTuple):
    """Per outer block, where its run of inner blocks begins and ends, and the part of it that is visible throughout."""

    start: Int32[Array, "B outer"]
    stop: Int32[Array, "B outer"]
    plain_start: Int32[Array, "B outer"]
    plain_stop: Int32[Array, "B outer"]

    @staticmethod
    def of(some: Bool[Array, "B outer inner"], every: Bool[Array, "B outer inner"]) -> "Runs":
        """From the two block decisions, inner blocks in the order of `by_first_token`."""
        count = some.shape[2]
        at = jnp.arange(count, dtype=jnp.int32)
        stop = jnp.where(some, at + 1, 0).max(axis=2)
        start = jnp.minimum(jnp.where(some, at, count).min(axis=2), stop)
        plain_start = jnp.where(every, at, count).min(axis=2)
        after = ~every & (at >= plain_start[..., None])
        return Runs(start, stop, plain_start, jnp.where(after, at, count).min(axis=2))


def by_first_token(extent: Extent) -> tuple[Int32[Array, "B n"], Extent]:
    """(order, extents in that order), blocks of padding alone last: neighbours in any order of whole blocks, such as
    zigzag's, are then adjacent. One sort carries everything, because a gather per field would take a TPU longer."""
    at = jax.lax.broadcasted_iota(jnp.int32, extent.whole.shape, 1)
    first, last = (extent.first_segment, extent.first_position), (extent.last_segment, extent.last_position)
    *ends, whole, order = jax.lax.sort((*first, *last, extent.whole, at), dimension=1, num_keys=2)
    return order, Extent(ends[0], ends[1], ends[2], ends[3], whole, extent.size)
