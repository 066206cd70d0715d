"""Counted work: how many (query, key) pairs attention must look at, and how evenly shards share them.

Owns how shares compare, and the floating-point operations of an attention alone. Exact counts of pairs are
`lwm_core.attention.pairs`'; bytes on the wire are `wire`'s; time is `contest`'s.
"""

import numpy as np
from jaxtyping import Int, Int64

from lwm_core.attention import Visibility
from lwm_core.attention.pairs import attended_pairs
from lwm_core.model.flops import attention_flops


# What a flash kernel does, not what a model needs: its backward pass looks at the scores again and does five products
# where the forward pass does two (FlashAttention-2, section 4.1).
BACKWARD_OVER_FORWARD = 2.5


def work_by_shard(
    position: Int[np.ndarray, "B T"], segment: Int[np.ndarray, "B T"], rule: Visibility, shards: int
) -> Int64[np.ndarray, "N"]:
    """Attended pairs of each shard's queries; coordinates are in the layout's order, padded slots of segment 0."""
    pairs = attended_pairs(position, segment, rule).sum(axis=0)
    return np.pad(pairs, (0, -len(pairs) % shards)).reshape(shards, -1).sum(axis=1)


def imbalance(work: Int64[np.ndarray, "N"]) -> float:
    """The largest share over the mean share; 1 is perfect balance."""
    return float(work.max() / work.mean())


def flops(pairs: int, heads: int, head_dim: int, *, backward: bool) -> float:
    """Operations of the forward pass over counted pairs, 4 * pairs * heads * head_dim; with the backward, 3.5 times."""
    ahead = attention_flops(pairs, heads, head_dim)
    return ahead * (1 + BACKWARD_OVER_FORWARD) if backward else ahead
