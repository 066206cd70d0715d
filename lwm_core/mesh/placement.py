"""Where weights, moments and gradients lie on a mesh, and how a layer gets whole weights to work with.

Owns the placement of trees of arrays. A weight's "embed" dimension lies over fsdp and sp, its heads, feed-forward
columns or vocabulary over tp; each device keeps its piece, with its moments, and a layer gathers the first for as
long as it computes (fully sharded data parallel: ZeRO-3, arXiv:1910.02054). What no one described is cut along its
largest dimension. Which logical axis lies where is `axes`'s; what each array declares is `declared`'s.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from lwm_core.mesh.axes import EMBED, automatic, constrain, partition
from lwm_core.mesh.declared import Axes, Rules, declared


SMALL = 2**14  # numbers; an array below it is kept whole unless it is declared, since its pieces would be crumbs


def shardings(tree: Any, mesh: Mesh, rules: Rules | None = None) -> Any:
    """A `NamedSharding` for every array of `tree`, which may hold shapes alone; None elsewhere."""
    arrays = eqx.filter(tree, _is_array)
    specs = [NamedSharding(mesh, _spec(leaf, axes, mesh)) for _, leaf, axes in declared(arrays, rules)]
    return jax.tree.unflatten(jax.tree.structure(arrays), specs)


def placed(tree: Any, mesh: Mesh | None, rules: Rules | None = None) -> Any:
    """`tree` with its arrays where they belong; on the first device when there is no mesh."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    where = jax.devices()[0] if mesh is None else shardings(arrays, mesh, rules)
    return eqx.combine(jax.device_put(arrays, where), rest)


def outlined(tree: Any, mesh: Mesh | None, rules: Rules | None = None) -> Any:
    """`tree` with a `ShapeDtypeStruct` for each array, that says where it belongs: to compile for, to restore into."""
    arrays, rest = eqx.partition(tree, _is_array)
    if mesh is None:
        only = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        where = jax.tree.map(lambda _: only, arrays)
    else:
        where = shardings(arrays, mesh, rules)
    shapes = jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), arrays, where)
    return eqx.combine(shapes, rest)


def spread(tree: Any, rules: Rules | None = None) -> Any:
    """`tree` with its arrays told to lie where they belong on the ambient mesh; for use inside `jit`."""
    mesh = automatic()
    if mesh is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    laid = [
        jax.lax.with_sharding_constraint(leaf, _spec(leaf, axes, mesh)) for _, leaf, axes in declared(arrays, rules)
    ]
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), laid), rest)


def made(build: Callable[..., Any], *arguments: Any, rules: Rules | None = None) -> Any:
    """`build(*arguments)`, a tree of arrays, each made where it belongs on the ambient mesh and nowhere else."""
    if automatic() is None:
        return build(*arguments)
    return eqx.filter_jit(lambda arguments: spread(build(*arguments), rules))(arguments)


def gathered(tree: Any, dtype: str) -> Any:
    """The declared weights of `tree`, whole along "embed", to compute with in `dtype`; for use inside `jit`.

    They travel as `dtype` and are seen as what they were, so that a layer's own casts cost nothing and gradients add
    up in the weights' own dtype. Gradients go back in pieces.
    """
    if automatic() is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    leaves = [
        leaf if axes is None or EMBED not in axes else whole(leaf, *axes, dtype=dtype)
        for _, leaf, axes in declared(arrays)
    ]
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), rest)


def whole(x: jax.Array, *logical: str | None, dtype: str) -> jax.Array:
    """One weight with these axes, as `gathered` has it."""
    if automatic() is None:
        return x
    kept = tuple(None if name == EMBED else name for name in logical)
    narrow = jnp.dtype(dtype)
    return _carried(logical, kept, narrow if narrow.itemsize < x.dtype.itemsize else x.dtype, x)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _carried(pieces: Axes, whole: Axes, dtype: jnp.dtype, x: jax.Array) -> jax.Array:
    # Both sides are told: or the partitioner gathers first and casts after, or gathers nothing and reduces products.
    return constrain(constrain(x.astype(dtype), *pieces), *whole).astype(x.dtype)


def _carried_ahead(pieces, whole, dtype, x):
    return _carried(pieces, whole, dtype, x), None


def _carried_back(pieces, whole, dtype, _, gradient):
    # Told both sides too: or what the products are made of is moved instead of their sum.
    return (constrain(constrain(gradient, *whole), *pieces),)


_carried.defvjp(_carried_ahead, _carried_back)


def _spec(leaf: Any, axes: Axes | None, mesh: Mesh | AbstractMesh) -> PartitionSpec:
    if axes is not None:
        return _spelled(partition(*axes, mesh=mesh, shape=leaf.shape), mesh)
    if leaf.size < SMALL:
        return PartitionSpec()
    sizes = list(enumerate(leaf.shape))
    for dimension, _ in sorted(sizes, key=lambda item: (-item[1], item[0])):
        spec = partition(*(EMBED if n == dimension else None for n, _ in sizes), mesh=mesh, shape=leaf.shape)
        if any(spec := _spelled(spec, mesh)):
            return spec
    return PartitionSpec()


def _spelled(spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """The spec as a compiled program gives it back, or the second step of a run would be compiled again: without axes
    of size 1, and without dimensions at the end that are whole."""
    entries = []
    for entry in spec:
        axes = tuple(
            axis for axis in (entry if isinstance(entry, tuple) else (entry,)) if axis and mesh.shape[axis] > 1
        )
        entries.append(axes if len(axes) > 1 else axes[0] if axes else None)
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
