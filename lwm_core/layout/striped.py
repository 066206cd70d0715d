"""The striped layout: tokens are dealt to shards in turn, like cards. It moves no data."""

import equinox as eqx
import numpy as np
from jaxtyping import Int64

from lwm_core.layout.base import AbstractLayout, require_multiple


class Striped(AbstractLayout):
    """Shard r of N holds stripes r, r + N, r + 2N, ... of `stripe` tokens each.

    The layout for packed rows: documents of very different lengths spread evenly (zigzag leaves the shard that
    holds the ends of long documents with over twice the mean). Make `stripe` the block of the kernel, so
    that a block's tokens stay together and blocks of other documents are still skipped: `Striped(128)` over rows
    of 64 stripes per shard or more is within a tenth of the mean. Single tokens balance best and skip least.
    Source: Striped Attention (arXiv:2311.09431), there with stripes of one token.
    """

    stripe: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.stripe < 1:
            raise ValueError(f"Striped(stripe={self.stripe}): give a positive number of tokens, as 1.")

    def permutation(self, length: int, shards: int) -> Int64[np.ndarray, " T"]:
        require_multiple(self, length, shards, shards * self.stripe)
        stripes = np.arange(length, dtype=np.int64).reshape(-1, shards, self.stripe)
        return stripes.swapaxes(0, 1).reshape(length)
