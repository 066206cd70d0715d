"""Weight files of the VQGAN: writing ours, reading any format in `READERS`, filling a network with them.

Owns the seam behind `restore`: a reader says whether a path is its own and gives tensors under the published
names (those of the tree, convolutions O I Ky Kx). A further format is one more reader. Our own file is
safetensors with those names, so the tensors are what aMUSEd's files hold; the header says the sizes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lwm_vqgan.shape import VQGANShape


FORMAT = "lwm-vqgan"
VERSION = "1"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds: tensors by published name, the sizes if it says them, and free facts."""

    tensors: Mapping[str, np.ndarray]
    shape: VQGANShape | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """One format: `accepts(path)` looks at the file, `read(path)` gives its weights."""

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path], Weights]


def save_weights(tree, shape: VQGANShape, path: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Writes the arrays of `tree` as safetensors, whole or not at all; `facts` (JSON data) go into the header."""
    path = Path(path)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "shape": json.dumps(shape.plain()),
        "facts": json.dumps(facts or {}),
    }
    partial = path.with_name(path.name + ".partial")
    save_file({name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(tree)}, partial, metadata=header)
    partial.replace(path)


def read_weights(path: Path) -> Weights:
    """The weights at `path` by the first reader that accepts it."""
    if not path.exists():
        raise FileNotFoundError(f"No weights at {path}: give the path of a file this project or a publisher wrote.")
    for reader in READERS:
        if reader.accepts(path):
            return reader.read(path)
    known = ", ".join(reader.name for reader in READERS)
    raise ValueError(f"{path} is in no known weight format: give one of {known}.")


def fill(skeleton: T, tensors: Mapping[str, np.ndarray], path: str | Path) -> T:
    """`skeleton` (arrays or their shapes) with every array taken from `tensors`, by name."""
    wanted = dict(named_leaves(skeleton))
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        told = f"{len(missing)} tensors are missing {missing[:3]} and {len(extra)} are not of it {extra[:3]}"
        raise ValueError(f"{path} does not hold this VQGAN: {told}. Build the family with the file's sizes.")
    for name, leaf in wanted.items():
        if tensors[name].shape != leaf.shape:
            raise ValueError(f"{path}: {name} has shape {tensors[name].shape}, this VQGAN needs {leaf.shape}.")
    leaves = [jnp.asarray(tensors[name], leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(skeleton), leaves)


def named_leaves(tree) -> list[tuple[str, Any]]:
    """Every array (or shape of one) with its path in dots, such as `encoder.conv_in.weight`, in tree order."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.suffix == ".safetensors" and _header(path).get("format") == FORMAT


def _read_ours(path: Path) -> Weights:
    header = _header(path)
    if header.get("version") != VERSION:
        raise ValueError(f"{path} is of version {header.get('version')}: this program reads version {VERSION}.")
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return Weights(tensors, VQGANShape.of_plain(json.loads(header["shape"])), json.loads(header["facts"]))


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy or train it again.") from error


READERS: tuple[Reader, ...] = (Reader("our safetensors", _is_ours, _read_ours),)
