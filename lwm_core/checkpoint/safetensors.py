"""The reference checkpoint format: one safetensors file per tree, of plain tensors that any reader understands.

Owns the bytes of a tree; how a checkpoint comes to be whole is `folder`'s. It gathers every array on one host and is
done when `save` returns: for arrays that lie on several processes there is the format `orbax`.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from lwm_core.checkpoint.base import CheckpointError, Manifest
from lwm_core.checkpoint.folder import check_keep, committed, drafted, forget, read_manifest, write, writing
from lwm_core.checkpoint.listing import damaged, newest
from lwm_core.checkpoint.named import belongs, check_fit, form, laid, named, rebuilt
from lwm_core.checkpoint.sums import check_sums


# What a training state holds, by the name in a file's header. safetensors' own reader lacks bfloat16.
_DTYPES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "I32": "int32",
           "I64": "int64", "U32": "uint32", "U64": "uint64",
           "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """Directories `step-00000012/` holding `<tree>.safetensors`, `manifest.json` and `SHA256SUMS`.

    - `keep`: how many of the newest checkpoints to keep; None keeps all;
    - `keep_every`: besides these, the checkpoints of every so many steps are kept for good.
    """

    keep: int | None = None
    keep_every: int | None = None

    def __post_init__(self):
        check_keep(self.keep, self.keep_every)

    def save(self, root: Path, trees: Mapping[str, Any], manifest: Manifest) -> Future[Path]:
        tables = {name: named(tree) for name, tree in trees.items()}
        leaves = [leaf for table in tables.values() for leaf in table.values()]
        _check_one_process(leaves)
        with writing(root, manifest.step, sum(leaf.nbytes for leaf in leaves)):
            draft = drafted(root, manifest.step)
            for name, table in tables.items():
                write(draft / _file(name), _bytes(table))
            final = committed(draft, manifest)
        forget(root, self.keep, self.keep_every)
        done: Future[Path] = Future()
        done.set_result(final)
        return done

    def latest(self, root: Path) -> Path | None:
        return newest(root)

    def manifest(self, path: Path) -> Manifest:
        return read_manifest(path)

    def restore(self, path: Path, name: str, like: Any) -> Any:
        check_sums(path, (_file(name),))
        file = path / _file(name)
        try:
            found = {tensor: _array(facts) for tensor, facts in safetensors.deserialize(file.read_bytes())}
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise damaged(path, f"{file} cannot be read as safetensors ({error})") from error
        check_fit(path, name, {tensor: form(array) for tensor, array in found.items()}, like)
        return rebuilt(like, {tensor: laid(found[tensor], belongs(leaf)) for tensor, leaf in named(like).items()})


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _bytes(table: Mapping[str, Any]) -> bytes:
    return safetensors.numpy.save({name: np.asarray(leaf, order="C") for name, leaf in table.items()})


def _array(tensor: Mapping[str, Any]) -> np.ndarray:
    dtype = jax.numpy.dtype(_DTYPES[tensor["dtype"]])
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])


def _check_one_process(leaves: list[Any]) -> None:
    if jax.process_count() > 1 or any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        raise CheckpointError(
            f"The format 'safetensors' writes from one process, and this run has {jax.process_count()}: use the format "
            "'orbax' (checkpoint.use=orbax), in which every process writes its own pieces."
        )
