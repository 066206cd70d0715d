"""The reference checkpoint format: one safetensors file per tree, a JSON manifest, one atomic rename.

Owns file names and the exact bytes. A checkpoint is written under a temporary name and renamed when every file
is on disk, so a save that is cut off is never found by `latest`. One process; sharded saves are another format.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from lwm_core.checkpoint.base import CheckpointError, Manifest


_MANIFEST = "manifest.json"
# What a training state holds, by the name in a file's header. safetensors' own reader lacks bfloat16.
_DTYPES = {"BOOL": "bool", "U8": "uint8", "I32": "int32", "I64": "int64", "U32": "uint32",
           "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """Directories `step-00000012/` holding `<tree>.safetensors` and `manifest.json`."""

    keep: int | None = None
    """How many of the newest checkpoints to keep; None keeps all."""

    def __post_init__(self):
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"SafetensorsCheckpoint(keep={self.keep}): give at least 1, or None to keep all.")

    def save(self, root: Path, trees: Mapping[str, Any], manifest: Manifest) -> Path:
        final = root / f"step-{manifest.step:08d}"
        draft = root / f".writing-{final.name}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, tree in trees.items():
            write_tree(draft / f"{name}.safetensors", tree)
        text = json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True)
        _write(draft / _MANIFEST, text.encode())
        # A step may be saved again, by a resumed run or with its gates' verdict: the older copy gives way in an
        # instant, and is taken apart when the newer one is in its place.
        aside = root / f".giving-way-{final.name}"
        shutil.rmtree(aside, ignore_errors=True)
        if final.exists():
            os.rename(final, aside)
        os.rename(draft, final)
        shutil.rmtree(aside, ignore_errors=True)
        self._forget(root)
        return final

    def latest(self, root: Path) -> Path | None:
        found = sorted(path.parent for path in root.glob(f"step-*/{_MANIFEST}"))
        return found[-1] if found else None

    def manifest(self, path: Path) -> Manifest:
        try:
            facts = json.loads((path / _MANIFEST).read_text())
            return Manifest(**{**facts, "vocabulary": tuple(facts["vocabulary"])})
        except (OSError, TypeError, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path / _MANIFEST} is not a manifest of this project: {error}") from error

    def restore(self, path: Path, name: str, like: Any) -> Any:
        return read_tree(path / f"{name}.safetensors", like)

    def _forget(self, root: Path) -> None:
        if self.keep is not None:
            for old in sorted(root.glob("step-*"))[: -self.keep]:
                shutil.rmtree(old)


def write_tree(path: Path, tree: Any) -> None:
    """Every array leaf of `tree` under its path in the tree, such as `blocks.ffn.gate`."""
    _write(path, safetensors.numpy.save({name: np.asarray(leaf, order="C") for name, leaf in _named(tree)}))


def read_tree(path: Path, like: Any) -> Any:
    """The tree in `path`; raises `CheckpointError` naming the first tensor that does not fit `like`."""
    try:
        found = {name: _array(tensor) for name, tensor in safetensors.deserialize(path.read_bytes())}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    wanted = _named(like)
    extra = sorted(set(found) - {name for name, _ in wanted})
    if extra:
        raise CheckpointError(f"{path} holds {extra[0]!r}, which this model has not: it is of another model.")
    leaves = [_fit(path, name, leaf, found.get(name)) for name, leaf in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _array(tensor: Mapping[str, Any]) -> np.ndarray:
    dtype = jax.numpy.dtype(_DTYPES[tensor["dtype"]])
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]


def _fit(path: Path, name: str, like: Any, found: np.ndarray | None) -> jax.Array:
    if found is None:
        raise CheckpointError(f"{path} lacks {name!r}: it is incomplete or of another model.")
    if (found.shape, found.dtype) != (like.shape, like.dtype):
        raise CheckpointError(
            f"{path}: {name!r} is {found.dtype}{list(found.shape)}, this model needs {like.dtype}{list(like.shape)}."
        )
    return jax.numpy.asarray(found)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
