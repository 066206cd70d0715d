"""A pickle of a nested dict of arrays, read without running anything it names.

Owns the restricted unpickler. Every global a pickle may name is replaced by an inert stand-in of this file; NumPy's
and JAX's own rebuilding code is never reached, and any other global is refused by its name.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


DEPTH = 16  # of nested dicts; LWM's tree has 5


class UnsafePickle(ValueError):
    """A pickle that names something other than arrays, or is none at all."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by their path in the nested dict, joined by `/`. Raises `UnsafePickle` naming what is not an array."""
    with path.open("rb") as file:
        try:
            tree = _Restricted(file).load()
        except UnsafePickle as error:
            raise UnsafePickle(f"{path} is not read: {error}") from error
        except Exception as error:  # a damaged or hostile pickle can raise anything; none of it may pass for arrays
            raise UnsafePickle(f"{path} is no whole pickle of arrays ({error}): download it again.") from error
    found: dict[str, np.ndarray] = {}
    _flatten(tree, "", found, path)
    return found


def _flatten(tree: Any, at: str, found: dict[str, np.ndarray], path: Path) -> None:
    if isinstance(tree, dict) and at.count("/") < DEPTH:
        for name, below in tree.items():
            if not isinstance(name, str):
                raise UnsafePickle(f"{path}: the key {name!r} under {at or 'the top'} is no name.")
            _flatten(below, f"{at}/{name}" if at else name, found, path)
    elif isinstance(tree, _Array) and tree.array is not None:
        found[at] = tree.array
    else:
        raise UnsafePickle(f"{path}: {at or 'the top'} is a {type(tree).__name__.strip('_')}, neither dict nor array.")


class _Dtype:
    """Stands for numpy.dtype: a plain number type and its byte order."""

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or code.lstrip("<>=|")[:1] not in set("fiub"):
            raise UnsafePickle(f"an array of type {code!r} holds no plain numbers.")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for numpy.ndarray, empty until its state comes."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _build(data, dtype, shape, "F" if fortran else "C")


class _NdarrayName:
    """What the global numpy.ndarray gives: a name to hand to the stand-ins, with nothing to call."""

    __slots__ = ()

    def __new__(cls, *_: object):
        raise UnsafePickle("it calls numpy.ndarray, which no pickle of arrays does.")


def _build(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise UnsafePickle("an array is not made of bytes and a number type.")
    return np.frombuffer(data, dtype.dtype).reshape(tuple(map(int, shape)), order="F" if order == "F" else "C")


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _NdarrayName:
        raise UnsafePickle(f"it rebuilds an array as {kind!r}.")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str) -> _Array:
    made = _Array()
    made.array = _build(data, dtype, shape, order)
    return made


def _jax_array(rebuild: object, arguments: tuple, state: Any, *_: object) -> _Array:
    """A jax.Array pickles as NumPy's three parts and facts about its type."""
    if rebuild is _from_buffer:
        return _from_buffer(*arguments)
    if rebuild is not _reconstruct:
        raise UnsafePickle(f"it rebuilds a jax array by {rebuild!r}.")
    made = _reconstruct(*arguments)
    made.__setstate__(state)
    return made


def _latin1(text: object, encoding: object) -> bytes:
    """Protocols below 3 spell bytes as _codecs.encode(text, 'latin1')."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnsafePickle(f"it encodes {type(text).__name__} as {encoding!r}.")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _NdarrayName,
    ("_codecs", "encode"): _latin1,
    ("jax._src.array", "_reconstruct_array"): _jax_array,
    ("jax._src.device_array", "reconstruct_device_array"): _jax_array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickle(
                f"it names {module}.{name}, and a pickle of weights names arrays only. Nothing of it was run. "
                "Get the weights from a publisher you trust, as safetensors if there are any."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickle(f"it refers to something outside itself ({pid!r}).")
