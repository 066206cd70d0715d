"""The zigzag layout: every shard holds one early and one late run, so that causal work is equal. It moves no data."""

import numpy as np
from jaxtyping import Int64

from lwm_core.layout.base import AbstractLayout, require_multiple


class Zigzag(AbstractLayout):
    """The row is cut into 2N chunks and shard r of N holds chunks r and 2N-1-r.

    Balances causal attention over one document exactly and keeps runs whole; packed documents of unequal lengths
    are better off in stripes (`Striped`). Source: the load balance of Llama 3 (arXiv:2407.21783, section 3.3.2) and
    of ring-flash-attention.
    """

    def permutation(self, length: int, shards: int) -> Int64[np.ndarray, " T"]:
        require_multiple(self, length, shards, 2 * shards)
        chunks = np.arange(length, dtype=np.int64).reshape(2 * shards, -1)
        return np.concatenate([chunks[half] for r in range(shards) for half in (r, 2 * shards - 1 - r)])
