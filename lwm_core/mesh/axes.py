"""The names of mesh axes, and which of them hold each logical axis of an array.

Owns the table and the functions that turn logical names into partition specs under the ambient mesh. It makes
no mesh (`MeshSpec`) and moves no array except through `constrain`.
"""

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec


DP, FSDP, TP, SP = AXES = ("dp", "fsdp", "tp", "sp")
# The rows of a batch, the slots of a sequence, and attention heads lie here.
BATCH, SEQUENCE, HEADS = (DP, FSDP), SP, TP

# Logical axis of an activation or a weight -> mesh axes. A name that is not here is an error, not a guess.
RULES: dict[str, tuple[str, ...]] = {
    "batch": BATCH,
    "sequence": (SEQUENCE,),
    "heads": (HEADS,),
    "kv_heads": (HEADS,),
    "ffn": (TP,),
    "vocab": (TP,),
    "embed": (FSDP,),
    "head_dim": (),
    "layers": (),
}


def partition(
    *logical: str | None, mesh: Mesh | AbstractMesh | None = None, shape: tuple[int, ...] | None = None
) -> PartitionSpec:
    """The spec of an array with these logical axes on `mesh` (the ambient one by default).

    None leaves a dimension whole, and so does a mesh that lacks the axis. With `shape`, a dimension that does
    not divide over its axes is left whole too (weights of odd sizes). `partition("batch", "sequence", None)`.
    """
    sizes = dict((mesh or jax.sharding.get_abstract_mesh()).shape)
    entries = []
    for dimension, name in enumerate(logical):
        axes = tuple(axis for axis in _axes_of(name) if axis in sizes)
        parts = 1
        for axis in axes:
            parts *= sizes[axis]
        if shape is not None and shape[dimension] % parts:
            axes = ()
        entries.append(axes if len(axes) > 1 else axes[0] if axes else None)
    return PartitionSpec(*entries)


def sharding(mesh: Mesh, *logical: str | None, shape: tuple[int, ...] | None = None) -> NamedSharding:
    """Where an array with these logical axes lives on a concrete mesh; for `jax.device_put`."""
    return NamedSharding(mesh, partition(*logical, mesh=mesh, shape=shape))


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """`x`, told to lie by its logical axes; itself outside any mesh. For use inside `jit`."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition(*logical, shape=x.shape))


def _axes_of(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    if name not in RULES:
        raise ValueError(f"There is no logical axis {name!r}: use one of {', '.join(RULES)}, or None.")
    return RULES[name]
