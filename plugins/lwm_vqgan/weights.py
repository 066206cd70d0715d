"""Weight files of the VQGAN: writing ours and diffusers', reading any in `READERS`, filling a network with them.

Owns the seam behind `restore`: a reader says whether a path is its own and gives tensors under the published
names (those of the tree, convolutions O I Ky Kx). A further format is one more reader. Our own file is
safetensors with those names, so the tensors are what aMUSEd's files hold; the header says the sizes. A folder that
is written for diffusers carries the same header, so it comes back whole.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lwm_vqgan.formats.readers import (
    DIFFUSERS_WEIGHTS,
    SAFETENSORS,
    Found,
    is_folder,
    is_pickle,
    is_safetensors,
    is_torch,
    read_file,
    read_flax,
    read_folder,
    tensors_of,
)
from lwm_vqgan.formats.sizes import diffusers_of_sizes
from lwm_vqgan.shape import VQGANShape


FORMAT = "lwm-vqgan"
VERSION = "1"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds: tensors by published name, the fields of `VQGANShape` that it tells, and free facts."""

    tensors: Mapping[str, np.ndarray]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """One format: `accepts(path)` looks at the file, `read(path)` gives its weights."""

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path], Weights]


def save_weights(tree, shape: VQGANShape, path: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Writes the arrays of `tree` as safetensors, whole or not at all; `facts` (JSON data) go into the header."""
    _write(tree, _header_of(shape, facts), Path(path))


def save_diffusers(tree, shape: VQGANShape, folder: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Writes a folder that `diffusers.VQModel.from_pretrained` reads; raises `ValueError` for sizes it has not."""
    folder, config = Path(folder), diffusers_of_sizes(shape)
    folder.mkdir(parents=True, exist_ok=True)
    _write(tree, {**_header_of(shape, facts), "format": "pt", "lwm": FORMAT}, folder / DIFFUSERS_WEIGHTS)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _header_of(shape: VQGANShape, facts: Mapping[str, object] | None) -> dict[str, str]:
    said = {"shape": json.dumps(shape.plain()), "facts": json.dumps(facts or {})}
    return {"format": FORMAT, "version": VERSION, **said}


def _write(tree, header: dict[str, str], path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    data = save({name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(tree)}, metadata=header)
    partial.write_bytes(_in_order(data))
    partial.replace(path)


def _in_order(data: bytes) -> bytes:
    """The same file with the entries of its header sorted: safetensors writes metadata in an order of the moment, and
    equal weights are to be equal files."""
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def read_weights(path: Path) -> Weights:
    """The weights at `path` by the first reader that accepts it."""
    if not path.exists():
        raise FileNotFoundError(f"No weights at {path}: give the path of a file this project or a publisher wrote.")
    for reader in READERS:
        if reader.accepts(path):
            return reader.read(path)
    known = ", ".join(reader.name for reader in READERS)
    inside = next((path / name for name in ("vqvae", "vae", "movq") if is_folder(path / name)), None)
    hint = f" Did you mean {inside}?" if inside else ""
    raise ValueError(f"{path} is in no known weight format: give one of {known}.{hint}")


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


def digest(part: Any) -> str:
    """SHA-256 of the arrays of a part, with their names and shapes."""
    made = hashlib.sha256()
    for name, leaf in named_leaves(part):
        made.update(f"{name} {leaf.shape} {leaf.dtype}\n".encode())
        made.update(np.ascontiguousarray(jax.device_get(leaf)).data)
    return made.hexdigest()


def _ours(path: Path) -> Path | None:
    """The file that carries our header: `path`, or the one in a folder that was written for diffusers."""
    file = next((path / name for name in SAFETENSORS if (path / name).is_file()), path)
    if not is_safetensors(file):
        return None
    header = _header(file)
    return file if FORMAT in (header.get("format"), header.get("lwm")) else None


def _read_ours(path: Path) -> Weights:
    file = _ours(path) or path
    header = _header(file)
    if header.get("version") != VERSION:
        raise ValueError(f"{path} is of version {header.get('version')}: this program reads version {VERSION}.")
    shape = VQGANShape.of_plain(json.loads(header["shape"]))
    return Weights(tensors_of(file), vars(shape), json.loads(header["facts"]))


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy or train it again.") from error


def _foreign(name: str, accepts: Callable[[Path], bool], read: Callable[[Path], Found]) -> Reader:
    return Reader(name, accepts, lambda path: Weights(*read(path)))


READERS: tuple[Reader, ...] = (
    Reader("our safetensors", lambda path: _ours(path) is not None, _read_ours),
    _foreign("a folder of diffusers or open-muse (config.json and weights)", is_folder, read_folder),
    _foreign("a safetensors file with their names", is_safetensors, read_file),
    _foreign("a file of torch.save", is_torch, read_file),
    _foreign("LWM's flax pickle", is_pickle, read_flax),
)
