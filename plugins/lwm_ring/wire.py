"""Coordinates on the wire: one array in place of many, so that a hop starts one transfer for them.

Owns packing and unpacking. Keys and values are not packed: joining them would copy them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from lwm_core.attention import TokenCoords


class Wire(NamedTuple):
    """How the arrays of some coordinates lie side by side in one."""

    structure: Any
    widths: tuple[int, ...]
    dtypes: tuple[str, ...]

    @staticmethod
    def of(at: TokenCoords) -> "Wire":
        """The packing of coordinates like these, and of the summaries that travel with them."""
        leaves, structure = jax.tree.flatten(at)
        return Wire(structure, tuple(x.shape[1] for x in leaves), tuple(str(x.dtype) for x in leaves))

    def packed(self, at: TokenCoords) -> Int32[Array, "B w"]:
        return jnp.concatenate([x.astype(jnp.int32) for x in jax.tree.leaves(at)], axis=1)

    def unpacked(self, packed: Int32[Array, "B w"]) -> TokenCoords:
        ends = [sum(self.widths[: n + 1]) for n in range(len(self.widths) - 1)]
        leaves = (x.astype(dtype) for x, dtype in zip(jnp.split(packed, ends, axis=1), self.dtypes, strict=True))
        return jax.tree.unflatten(self.structure, leaves)
