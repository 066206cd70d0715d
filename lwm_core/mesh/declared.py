"""What the arrays of a tree say of themselves: the logical axis of each of their dimensions.

Owns the declaration that a module's field makes (`logical`), rules that overrule it from outside, and what holds for an
array that nobody described. Which mesh axes hold a logical axis is `axes`'s; moving arrays is `placement`'s.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import equinox as eqx
import jax

from lwm_core.mesh.axes import check_axis


Axes = tuple[str | None, ...]
Rules = Mapping[str, Axes]
"""A pattern of an array's path, such as `*.ffn.up`, to the axes of its last dimensions."""

_KEY = "axes"


def logical(*names: str | None) -> dict[str, Axes]:
    """Metadata of a field that holds an array: `q: Float[Array, "E H D"] = eqx.field(metadata=logical("embed",
    "heads", None))`. A dimension that a stack of layers puts before them is whole."""
    for name in names:
        check_axis(name)
    return {_KEY: names}


def declared(tree: Any, rules: Rules | None = None) -> Iterator[tuple[str, Any, Axes | None]]:
    """Every array leaf of `tree`, in order: its path, itself, and its axes, one for each dimension.

    A rule comes before what the array's field declares; of several that match, the last. None where neither is known.
    Moments of an optimiser are trees of the model's own modules, so they lie as the weights do.
    Raises `ValueError` for an array with fewer dimensions than axes.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found = _ruled(name, rules or {}) or _of_field(tree, path)
        yield name, leaf, None if found is None else _filled(name, leaf, found)


def _ruled(name: str, rules: Rules) -> Axes | None:
    found = [axes for pattern, axes in rules.items() if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")]
    return found[-1] if found else None


def _of_field(tree: Any, path: tuple) -> Axes | None:
    """What the field declares that holds the array itself; of a container in a field, nothing is known."""
    node, found = tree, None
    for key in path:
        found = None
        if isinstance(key, jax.tree_util.GetAttrKey):
            if isinstance(node, eqx.Module):
                found = next(f.metadata.get(_KEY) for f in dataclasses.fields(node) if f.name == key.name)
            node = getattr(node, key.name)
        elif isinstance(key, jax.tree_util.SequenceKey | jax.tree_util.DictKey):
            node = node[key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key]
        else:
            return None
    return found


def _filled(name: str, leaf: Any, found: Axes) -> Axes:
    missing = leaf.ndim - len(found)
    if missing < 0:
        raise ValueError(
            f"{name} has shape {list(leaf.shape)} and is said to have the {len(found)} axes "
            f"{', '.join(map(str, found))}: give at most {leaf.ndim}, for its last dimensions."
        )
    return (None,) * missing + tuple(found)
