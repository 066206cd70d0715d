"""Coordinates on the wire: one array in place of many, so that they take one transfer.

Owns packing, unpacking and gathering them. Keys and values are not packed: joining them would copy them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, Shaped

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


def gathered(at: TokenCoords, axis: str, groups: list[list[int]] | None = None) -> TokenCoords:
    """The coordinates of all shards of a mesh axis, or of the shard's group, in the shards' order."""
    wire = Wire.of(at)
    every = jax.lax.all_gather(wire.packed(at), axis, axis_index_groups=groups)
    return jax.tree.map(_in_line, jax.vmap(wire.unpacked)(every))


def _in_line(x: Shaped[Array, "N B w"]) -> Shaped[Array, "B W"]:
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)
