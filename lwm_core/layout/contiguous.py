"""The contiguous layout: shard r holds the r-th run of tokens. The reference; unbalanced for causal rows."""

import numpy as np
from jaxtyping import Int64

from lwm_core.layout.base import AbstractLayout, require_multiple


class Contiguous(AbstractLayout):
    """Tokens in their own order. Under causal attention late shards do most of the work."""

    def permutation(self, length: int, shards: int) -> Int64[np.ndarray, " T"]:
        require_multiple(self, length, shards, shards)
        return np.arange(length, dtype=np.int64)
