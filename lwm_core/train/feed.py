"""Rows to a sharded batch: shift targets, permute to the layout, place on devices.

Targets are shifted here, in document order, *before* the layout's permutation, so zigzag cannot corrupt the
loss. Weights arrive with the rows: the packer computed them where segments were whole. Whatever it did, no target
lies across a boundary: a row's last token predicts nothing, not even where its document goes on in the next row.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int32, Int64

from lwm_core.attention.coords import TokenCoords
from lwm_core.data import Row
from lwm_core.layout.base import AbstractLayout
from lwm_core.objective.base import Batch, Origin


def to_batch(
    rows: Sequence[Row], layout: AbstractLayout, mesh: Mesh | None = None, uneven: Literal["error", "pad"] = "error"
) -> Batch:
    """The rows as one batch in `layout`'s order; sharded over (dp, fsdp) × sp when a mesh is given.

    With several processes all are given the same rows, and each puts what its own devices hold there.
    `uneven` is `Stage.uneven`. Raises `ValueError` when the rows do not divide over the mesh.
    """
    tokens, segment, position, loss = (
        np.stack([getattr(row, name) for row in rows]) for name in ("tokens", "segment", "position", "loss")
    )
    targets, weights = np.zeros_like(tokens), np.zeros(loss.shape, np.float32)
    targets[:, :-1] = tokens[:, 1:]
    weights[:, :-1] = loss[:, 1:] * ((segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0))
    empty = slots_of(tokens.shape[1], layout, mesh, uneven) - tokens.shape[1]
    if empty:
        tokens, segment, position, targets, weights = (
            np.pad(x, ((0, 0), (0, empty))) for x in (tokens, segment, position, targets, weights)
        )
    order = order_of(tokens.shape[1], layout, mesh)
    slot = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    place, arrays = _placement(mesh, len(rows)), (tokens, segment, position, targets, weights, slot, _sizes(segment))
    if not np.array_equal(order, slot[0]):  # a copy of everything that a row in its own order is spared
        arrays = (x[:, order] for x in arrays)
    tokens, segment, position, targets, weights, slot, size = (place(np.ascontiguousarray(x)) for x in arrays)
    return Batch(tokens, TokenCoords(position, segment), targets, weights, Origin(slot, size))


def order_of(length: int, layout: AbstractLayout, mesh: Mesh | None) -> Int64[np.ndarray, " T"]:
    """The token in each slot of a row over the mesh's sp; raises `ValueError` where the length does not divide."""
    return layout.permutation(length, 1 if mesh is None else mesh.shape["sp"])


def slots_of(length: int, layout: AbstractLayout, mesh: Mesh | None, uneven: Literal["error", "pad"]) -> int:
    """How many slots a row of this length takes over the mesh's sp: itself, or the next length that divides where
    `uneven` is "pad". Raises `ValueError` where it does not divide and is not to be padded."""
    shards = 1 if mesh is None else mesh.shape["sp"]
    for slots in range(-(-length // shards) * shards, 2 * length + 2 * shards, shards):
        if _divides(slots, layout, shards):
            break
    else:
        slots = length
    if slots != length and uneven == "error":
        try:
            layout.permutation(length, shards)
        except ValueError as error:
            error.add_note(f'Or let rows be padded to {slots} slots: uneven = "pad" in the stage.')
            raise
    return slots


def _divides(slots: int, layout: AbstractLayout, shards: int) -> bool:
    try:
        layout.permutation(slots, shards)
    except ValueError:
        return False
    return True


def check_rows(rows: int, mesh: Mesh | None) -> None:
    """Raises `ValueError` when so many rows a step do not divide over the mesh."""
    share = 1 if mesh is None else mesh.shape["dp"] * mesh.shape["fsdp"]
    if rows % share:
        raise ValueError(f"{rows} rows a step do not divide over dp × fsdp = {share}: use a multiple of {share}.")


def _sizes(segment: Int32[np.ndarray, "B T"]) -> Int32[np.ndarray, "B T"]:
    """How many tokens of its row are in each token's segment; 0 for padding."""
    counts = [np.bincount(row) for row in segment]
    for count in counts:
        count[0] = 0
    return np.stack([count.astype(np.int32)[row] for count, row in zip(counts, segment, strict=True)])


def _placement(mesh: Mesh | None, rows: int):
    if mesh is None:
        return jax.numpy.asarray
    check_rows(rows, mesh)
    sharding = NamedSharding(mesh, PartitionSpec(("dp", "fsdp"), "sp"))
    return lambda array: jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
