"""The contiguous layout: shard r holds the r-th run of tokens. The reference; unbalanced for causal rows."""

import numpy as np
from jaxtyping import Int64

from lwm_core.layout.base import AbstractLayout


class Contiguous(AbstractLayout):
    """Tokens in their own order. Under causal attention late shards do most of the work."""

    def permutation(self, length: int, shards: int) -> Int64[np.ndarray, " T"]:
        if length % shards:
            raise ValueError(
                f"A row of {length} tokens does not divide over {shards} shards: use a multiple of {shards}."
            )
        return np.arange(length, dtype=np.int64)
