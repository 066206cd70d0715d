"""The layout interface: which token stands in which slot when a row is cut into equal shards.

Owns the interface only. A layout is a permutation of slots, computed on the host; coordinates travel with
tokens, so attention is right under every layout and the choice only decides balance and locality.
"""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Int64


class AbstractLayout(eqx.Module):
    """A permutation of the tokens of a row over equal shards."""

    @abc.abstractmethod
    def permutation(self, length: int, shards: int) -> Int64[np.ndarray, " T"]:
        """The original index of the token in each slot: `row_in_layout = row[permutation]`.

        Shard r owns slots `[r * length // shards, (r + 1) * length // shards)`. Raises `ValueError` naming
        the multiple that `length` must be of, when it does not divide.
        """
