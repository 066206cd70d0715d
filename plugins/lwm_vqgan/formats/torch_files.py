"""A file of `torch.save` with a dict of tensors, read without torch and without running anything it names.

Owns the zip file and the strides. The pickle inside goes through the interpreter of `pickles`.
"""

import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lwm_vqgan.formats.pickles import Machine, StandIn, UnsafePickle


MAGIC = b"PK"
_KINDS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _Table(dict, StandIn):
    """Stands for collections.OrderedDict; torch sets its versions on it, which are of no use here."""

    def fill(self, state: Any) -> None:
        del state


def torch_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name. Raises `UnsafePickle` naming what is not a tensor."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UnsafePickle(
                f"{path.parent} has its weights in {path.name} only, which is not the zip file that torch writes: "
                "write them as safetensors where you trust them, save_pretrained(FOLDER, safe_serialization=True)."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _load(archive)
    except UnsafePickle as error:
        raise UnsafePickle(f"{path} is not read: {error}") from error
    except Exception as error:  # a damaged or hostile file can raise anything; none of it may pass for tensors
        raise UnsafePickle(f"{path} is no whole file of torch ({error}): download it again.") from error
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    odd = (
        "the whole" if not isinstance(tree, dict) else next((n for n, a in tree.items() if not _is_tensor(n, a)), None)
    )
    if odd is not None:
        raise UnsafePickle(f"{path}: {odd!r} is no tensor by its name.")
    return tree


def _is_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, np.ndarray)


def _load(archive: zipfile.ZipFile) -> Any:
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(found) != 1 or archive.getinfo(found[0]).compress_type != zipfile.ZIP_STORED:
        raise UnsafePickle(f"it holds {len(found)} pickles of tensors, or a packed one; torch writes one, as it is.")
    root = found[0].removesuffix("data.pkl")
    kinds: dict[Callable, np.dtype] = {partial(_never, name): np.dtype(code) for name, code in _KINDS.items()}
    allowed: dict[tuple[str, str], Callable] = {
        ("collections", "OrderedDict"): _Table,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        **{("torch", kind.args[0]): kind for kind in kinds if isinstance(kind, partial)},
    }

    def storage(what: Any) -> np.ndarray:
        word, kind, key, _, count = what
        entry = archive.getinfo(f"{root}data/{key}")
        if word != "storage" or kind not in kinds or entry.compress_type != zipfile.ZIP_STORED:
            raise UnsafePickle("its numbers are not stored as torch stores them.")
        return np.frombuffer(archive.read(entry), kinds[kind])[: int(count)]

    return Machine(allowed, storage).run(BytesIO(archive.read(found[0])))


def _never(name: str, *_: object) -> None:
    raise UnsafePickle(f"it calls torch.{name}.")


def _tensor(numbers: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`, with its bounds checked."""
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 1:
        raise UnsafePickle("a tensor is not made of numbers.")
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if offset < 0 or last >= len(numbers) or any(size < 1 for size in shape) or any(step < 0 for step in strides):
        raise UnsafePickle(f"a tensor of shape {shape} lies outside its {len(numbers)} numbers.")
    steps = tuple(step * numbers.itemsize for step in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False))
