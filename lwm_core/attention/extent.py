"""Which blocks of the score matrix hold a visible pair, decided from block summaries alone.

Owns `Extent` (the first and last token of a block, in the order of segment then position) and the two
block-level questions: may this block pair hold a visible pair, and is every pair of it visible. Kernels use
them to skip blocks and to skip mask arithmetic. The pairwise truth stays in `Visibility.mask`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from lwm_core.attention.coords import TokenCoords, Visibility


_NONE = np.iinfo(np.int32).max


class Extent(eqx.Module):
    """The lexicographically first and last (segment, position) of each block, padding left out.

    A block of padding alone has `first_segment` at the largest integer and `last_segment` 0, so that it meets
    no other block. `whole` says that the block holds no padding.
    """

    first_segment: Int32[Array, "B n"]
    first_position: Int32[Array, "B n"]
    last_segment: Int32[Array, "B n"]
    last_position: Int32[Array, "B n"]
    whole: Bool[Array, "B n"]

    @staticmethod
    def of(at: TokenCoords, block: int) -> "Extent":
        """Summaries of consecutive blocks; the last one may be short."""
        batch, length = at.segment.shape
        pad = ((0, 0), (0, -length % block))
        segment = jnp.pad(at.segment, pad).reshape(batch, -1, block)
        position = jnp.pad(at.position, pad).reshape(batch, -1, block)
        first = jnp.where(segment != 0, segment, _NONE).min(axis=-1)
        last = segment.max(axis=-1)
        starts, ends = segment == first[..., None], (segment == last[..., None]) & (segment != 0)
        return Extent(
            first,
            jnp.where(starts, position, _NONE).min(axis=-1),
            last,
            jnp.where(ends, position, -1).max(axis=-1),
            (segment != 0).all(axis=-1),
        )


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


def _ends(extent: Extent, axis: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    first = jnp.expand_dims(extent.first_segment, axis), jnp.expand_dims(extent.first_position, axis)
    last = jnp.expand_dims(extent.last_segment, axis), jnp.expand_dims(extent.last_position, axis)
    return first, last
