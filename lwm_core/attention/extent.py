"""Which blocks of the score matrix hold a visible pair, decided from block summaries alone.

Owns the questions that kernels and schedules ask of `Extent`s: may a block pair hold a visible pair, is every pair
of it visible, and does a whole block of queries see anything of a whole block of keys. Kernels use them to skip
blocks and mask arithmetic, schedules to skip hops. The pairwise truth stays in `Visibility.mask`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from lwm_core.attention.coords import Extent, TokenCoords, Visibility


# Blocks per side when a schedule asks about a whole hop: enough for the runs of a zigzag shard, few to compare.
_BLOCKS_OF_A_HOP = 64


def visible_blocks(q: Extent, kv: Extent, rule: Visibility) -> tuple[Bool[Array, "B n m"], Bool[Array, "B n m"]]:
    """(some, every): block pairs that may hold a visible pair, and block pairs that are visible throughout.

    `some` never misses a visible pair; it is exact for rows whose segments and positions rise. A pair of tokens
    in one segment is ordered like their (segment, position), which is why comparing ends suffices.
    """
    q_first, q_last = _ends(q, axis=2)
    k_first, k_last = _ends(kv, axis=1)
    some = (q_first[0] <= k_last[0]) & (k_first[0] <= q_last[0])
    every = (q_first[0] == q_last[0]) & (k_first[0] == k_last[0]) & (q_first[0] == k_first[0])
    every &= q.whole[:, :, None] & kv.whole[:, None, :]
    if rule.causal_block is not None:
        frame = rule.causal_block
        some &= (k_first[0] < q_last[0]) | ((k_first[0] == q_last[0]) & (k_first[1] // frame <= q_last[1] // frame))
        every &= k_last[1] // frame <= q_first[1] // frame
    if rule.window is not None:
        reach = rule.window
        some &= (k_last[0] > q_first[0]) | ((k_last[0] == q_first[0]) & (q_first[1] - k_last[1] < reach))
        some &= (k_first[0] < q_last[0]) | ((k_first[0] == q_last[0]) & (k_first[1] - q_last[1] < reach))
        every &= (k_last[1] - q_first[1] < reach) & (q_last[1] - k_first[1] < reach)
    return some, every & some


def any_visible(q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> Bool[Array, ""]:
    """Whether any query of the batch may see any key; false is certain. For a schedule that skips a hop."""
    some, _ = visible_blocks(_coarse(q_at), _coarse(kv_at), rule)
    return some.any()


def _coarse(at: TokenCoords) -> Extent:
    granule = 1 if at.extents is None else at.extents.size
    return Extent.of(at, -(-at.segment.shape[1] // (granule * _BLOCKS_OF_A_HOP)) * granule)


def _ends(extent: Extent, axis: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    first = jnp.expand_dims(extent.first_segment, axis), jnp.expand_dims(extent.first_position, axis)
    last = jnp.expand_dims(extent.last_segment, axis), jnp.expand_dims(extent.last_position, axis)
    return first, last
