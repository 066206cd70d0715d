"""The layout interface: which token stands in which slot when a row is cut into equal shards.

Owns the interface and the refusal that every layout words alike. A layout is a permutation of slots, computed
on the host; coordinates travel with tokens, so attention is right under every layout and the choice only
decides balance and locality.
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


def require_multiple(layout: AbstractLayout, length: int, shards: int, multiple: int) -> None:
    """Raises `ValueError` with the needed multiple and the nearest lengths, unless `length` divides."""
    if shards < 1:
        raise ValueError(f"{type(layout).__name__} cannot cut a row into {shards} shards: give at least 1.")
    if length % multiple == 0 and length > 0:
        return
    above = -(-max(length, 1) // multiple) * multiple
    nearest = f"{above - multiple} or {above}" if above > multiple else f"{above}"
    raise ValueError(
        f"{type(layout).__name__} over {shards} shards needs a row length that is a multiple of {multiple}, "
        f"and got {length}: use {nearest}."
    )
