"""A tree of arrays as a flat table of plain ones, by the path of each, such as `blocks.ffn.gate`, and back.

Owns the names, random keys as the numbers they are, where a restored leaf belongs, and the comparison of what a
checkpoint holds with what is wanted. Formats differ in how they write the table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from lwm_core.checkpoint.base import MisfitError


Form = tuple[str, tuple[int, ...]]
"""dtype and shape of a tensor"""

_SHOWN = 5  # differing tensors in a message


def named(tree: Any) -> dict[str, Any]:
    """Every leaf under its path. Random keys are their numbers; a tree that is one array is called `value`."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    table = {jax.tree_util.keystr(path, simple=True, separator=".") or "value": _numbers(leaf) for path, leaf in paths}
    if len(table) < len(paths):
        raise ValueError(f"Two of these {len(paths)} arrays have the same path: {', '.join(sorted(table))}.")
    return table


def rebuilt(like: Any, table: Mapping[str, jax.Array]) -> Any:
    """The tree of `like`'s structure with the arrays of a table whose names are `named(like)`'s."""
    leaves, structure = jax.tree.flatten(like)
    names = named(like)
    return jax.tree.unflatten(structure, [_as(leaf, table[name]) for name, leaf in zip(names, leaves, strict=True)])


def form(leaf: Any) -> Form:
    """The dtype and shape of an array."""
    return str(np.dtype(leaf.dtype)), tuple(leaf.shape)


def belongs(leaf: Any) -> Sharding | None:
    """Where a restored leaf has to lie; None leaves it to JAX."""
    if isinstance(leaf, jax.Array) and not leaf.committed:
        return None
    return getattr(leaf, "sharding", None)


def laid(array: np.ndarray, where: Sharding | None) -> jax.Array:
    """An array of the host on the devices where it belongs; each takes its piece."""
    if where is None:
        return jax.numpy.asarray(array)
    return jax.make_array_from_callback(array.shape, where, lambda index: array[index])


def check_fit(path: Path, name: str, found: Mapping[str, Form], like: Any) -> None:
    """Raises `MisfitError` with the first tensors that differ between a checkpoint's tree and `like`."""
    wanted = {tensor: form(leaf) for tensor, leaf in named(like).items()}
    differing = [tensor for tensor in (*wanted, *found) if found.get(tensor) != wanted.get(tensor)]
    differing = list(dict.fromkeys(differing))
    if not differing:
        return
    told = [
        f"{tensor!r} is {_spelt(found.get(tensor))} there and {_spelt(wanted.get(tensor))} here"
        for tensor in differing[:_SHOWN]
    ]
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise MisfitError(
        f"{path} is of another model: {len(differing)} tensors of its {name!r} differ: {'; '.join(told)}{more}."
    )


def _spelt(form: Form | None) -> str:
    return "absent" if form is None else f"{form[0]}{list(form[1])}"


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _numbers(leaf: Any) -> Any:
    """A leaf, or the numbers of one that is random keys: they have one axis more, and lie as the keys do."""
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.Array):
        return jax.random.key_data(leaf)
    numbers = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
    return jax.ShapeDtypeStruct(numbers.shape, numbers.dtype, sharding=leaf.sharding)


def _as(like: Any, array: jax.Array) -> jax.Array:
    """A restored array as what `like` is: itself, or the random keys that its numbers are."""
    if not _is_key(like):
        return array
    implementation = []
    jax.eval_shape(lambda key: implementation.append(jax.random.key_impl(key)), like)
    return jax.random.wrap_key_data(array, impl=implementation[0])
