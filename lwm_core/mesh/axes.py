"""The names of mesh axes, and which of them hold each logical axis of an array.

Owns the table and the functions that turn logical names into partition specs under the ambient mesh. It makes
no mesh (`MeshSpec`) and moves no array except through `constrain`.
"""

import math

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec


DP, FSDP, TP, SP = AXES = ("dp", "fsdp", "tp", "sp")
# The rows of a batch, the slots of a sequence, and attention heads lie here.
BATCH, SEQUENCE, HEADS = (DP, FSDP), SP, TP
EMBED = "embed"  # the dimension of a weight that is gathered for use

# Logical axis of an activation or a weight -> mesh axes. A name that is not here is an error, not a guess.
RULES: dict[str, tuple[str, ...]] = {
    "batch": BATCH,
    "sequence": (SEQUENCE,),
    # Between a block's parts, where each token is by itself, tp takes its share of them (sequence parallelism,
    # arXiv:2205.05198): what is kept for the backward pass is spread over all devices.
    "tokens": (SEQUENCE, TP),
    "heads": (HEADS,),
    "kv_heads": (HEADS,),
    "ffn": (TP,),
    "vocab": (TP,),
    EMBED: (FSDP, SP),
    "head_dim": (),
    "layers": (),
    "whole": (),
}


def partition(
    *logical: str | None, mesh: Mesh | AbstractMesh | None = None, shape: tuple[int, ...] | None = None
) -> PartitionSpec:
    """The spec of an array with these logical axes on `mesh` (the ambient one by default).

    None leaves a dimension whole, and so does a mesh that lacks the axis. With `shape`, a dimension that does not
    divide over all of its axes lies on the first of them that it divides over (weights of odd sizes).
    `partition("batch", "sequence", None)`.
    """
    sizes = dict((mesh or jax.sharding.get_abstract_mesh()).shape)
    entries = []
    for dimension, name in enumerate(logical):
        axes = tuple(axis for axis in _axes_of(name) if axis in sizes)
        while shape is not None and shape[dimension] % math.prod(sizes[axis] for axis in axes):
            axes = axes[:-1]
        entries.append(axes if len(axes) > 1 else axes[0] if axes else None)
    return PartitionSpec(*entries)


def sharding(mesh: Mesh, *logical: str | None, shape: tuple[int, ...] | None = None) -> NamedSharding:
    """Where an array with these logical axes lives on a concrete mesh; for `jax.device_put`."""
    return NamedSharding(mesh, partition(*logical, mesh=mesh, shape=shape))


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """`x`, told to lie by its logical axes; itself where the compiler moves nothing. For use inside `jit`."""
    if automatic() is None:
        return x
    return jax.lax.with_sharding_constraint(x, partition(*logical, shape=x.shape))


def pieces(logical: str, length: int) -> int:
    """In how many pieces the compiler cuts this logical axis of an array of that length on the ambient mesh."""
    mesh = automatic()
    if mesh is None:
        return 1
    (entry,) = partition(logical, mesh=mesh, shape=(length,))
    axes = entry if isinstance(entry, tuple) else (entry,) if entry else ()
    return math.prod(mesh.shape[axis] for axis in axes)


def automatic() -> AbstractMesh | None:
    """The ambient mesh, if the compiler may move arrays on it: not in a `shard_map`, nor where axes are explicit."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or any(kind != AxisType.Auto for kind in mesh.axis_types):
        return None
    return mesh


def platform() -> str:
    """What programs are compiled for, "cpu", "gpu" or "tpu": that of the ambient mesh's devices, which need not be
    here, or of the machine at hand."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def check_axis(name: str | None) -> None:
    """Raises `ValueError` for a name that is no logical axis."""
    if name is not None and name not in RULES:
        raise ValueError(f"There is no logical axis {name!r}: use one of {', '.join(RULES)}, or None.")


def _axes_of(name: str | None) -> tuple[str, ...]:
    check_axis(name)
    return () if name is None else RULES[name]
