"""How many (query, key) pairs attention must look at, counted exactly on the host.

Owns the counts from coordinates and the rule, in numpy and without an S by S mask. What they cost is
`lwm_core.model.flops`'.
"""

import numpy as np
from jaxtyping import Int, Int64

from lwm_core.attention.coords import Visibility


_STRIDE = 1 << 32


def attended_pairs(
    position: Int[np.ndarray, "B T"],
    segment: Int[np.ndarray, "B T"],
    rule: Visibility,
    kv_position: Int[np.ndarray, "B S"] | None = None,
    kv_segment: Int[np.ndarray, "B S"] | None = None,
) -> Int64[np.ndarray, "B T"]:
    """How many keys each query sees; keys are the queries' own tokens unless given. Any order of tokens."""
    kv_position = position if kv_position is None else kv_position
    kv_segment = segment if kv_segment is None else kv_segment
    rows = zip(position, segment, kv_position, kv_segment, strict=True)
    return np.stack([_row(q, q_segment, k, k_segment, rule) for q, q_segment, k, k_segment in rows])


def _row(position, segment, kv_position, kv_segment, rule: Visibility) -> np.ndarray:
    """One row: keys of a segment that a query sees are one run of positions, so two searches count them."""
    wide = (x.astype(np.int64) for x in (position, segment, kv_position, kv_segment))
    position, segment, kv_position, kv_segment = wide
    keys = np.sort((kv_segment * _STRIDE + kv_position)[kv_segment != 0])
    first, last = np.zeros_like(position), np.full_like(position, _STRIDE - 1)
    if rule.causal_block is not None:
        last = (position // rule.causal_block + 1) * rule.causal_block - 1
    if rule.window is not None:
        first, last = np.maximum(first, position - rule.window + 1), np.minimum(last, position + rule.window - 1)
    low = np.searchsorted(keys, segment * _STRIDE + first, "left")
    high = np.searchsorted(keys, segment * _STRIDE + last, "right")
    return np.where(segment != 0, high - low, 0)
