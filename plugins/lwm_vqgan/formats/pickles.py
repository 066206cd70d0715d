"""A pickle of a nested dict of arrays, read by an interpreter that can build nothing else.

Owns the few instructions of the pickle format that such a file needs. Python's own unpickler, and NumPy's and JAX's
rebuilding code, are never reached: every global that may be named is an inert stand-in of this file, and any other
is refused by its name.
"""

import pickletools
from collections.abc import Callable, Mapping
from io import BufferedReader, BytesIO
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
            tree = Machine(_ALLOWED).run(file)
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


class StandIn:
    """What a pickle may set the state of."""

    def fill(self, state: Any) -> None:
        raise UnsafePickle(f"it sets the state of a {type(self).__name__}.")


class _Dtype(StandIn):
    """Stands for numpy.dtype: a plain number type and its byte order."""

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or code.lstrip("<>=|")[:1] not in set("fiub"):
            raise UnsafePickle(f"an array of type {code!r} holds no plain numbers.")
        self.dtype = np.dtype(code)

    def fill(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(StandIn):
    """Stands for numpy.ndarray, empty until its state comes."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _build(data, dtype, shape, "F" if fortran else "C")


def _ndarray(*_: object) -> None:
    """What the global numpy.ndarray gives: a name to hand to the other stand-ins."""
    raise UnsafePickle("it calls numpy.ndarray, which no pickle of arrays does.")


def _build(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise UnsafePickle("an array is not made of bytes and a number type.")
    return np.frombuffer(data, dtype.dtype).reshape(tuple(map(int, shape)), order="F" if order == "F" else "C")


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _ndarray:
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
    made.fill(state)
    return made


def _latin1(text: object, encoding: object) -> bytes:
    """Protocols below 3 spell bytes as _codecs.encode(text, 'latin1')."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnsafePickle(f"it encodes {type(text).__name__} as {encoding!r}.")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _ndarray,
    ("_codecs", "encode"): _latin1,
    ("jax._src.array", "_reconstruct_array"): _jax_array,
    ("jax._src.device_array", "reconstruct_device_array"): _jax_array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


_MARK = object()
_PLAIN = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """The stack and the memo of one pickle; `allowed` are the stand-ins that it may name and call, and `outside`
    gives what lies outside the pickle (torch's numbers do)."""

    def __init__(self, allowed: Mapping[tuple[str, str], Callable], outside: Callable[[Any], Any] | None = None):
        self.allowed, self.outside = allowed, outside
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BufferedReader | BytesIO) -> Any:
        for code, value, _ in pickletools.genops(file):
            if code.name == "STOP":
                return self.stack.pop()
            self._step(code.name, value)
        raise UnsafePickle("it has no end.")

    def _step(self, name: str, value: Any) -> None:
        if name in _VALUES:
            self.stack.append(value)
        elif name in _PLAIN:
            self.stack.append(_PLAIN[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self._pop(_TUPLES[name])))
        elif name in _STEPS:
            _STEPS[name](self, value)
        elif name not in ("PROTO", "FRAME"):
            raise UnsafePickle(f"it holds the instruction {name}, which arrays do not need. Nothing of it was run.")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise UnsafePickle("its instructions do not add up.")
        kept = len(self.stack) - count
        taken, self.stack[kept:] = self.stack[kept:], []
        return taken

    def _above_mark(self) -> list[Any]:
        marks = [index for index, item in enumerate(self.stack) if item is _MARK]
        taken = self._pop(len(self.stack) - marks[-1])
        return taken[1:]

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _extend(self, items: list[Any]) -> None:
        """Puts pairs into the dict, or items into the list, that lies on top."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(zip(items[::2], items[1::2], strict=True))
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise UnsafePickle(f"it puts items into a {type(target).__name__}.")

    def _global(self, module: object, name: object) -> None:
        stand_in = self.allowed.get((str(module), str(name)))
        if stand_in is None:
            raise UnsafePickle(
                f"it names {module}.{name}, and a pickle of weights names arrays only. Nothing of it was run. "
                "Get the weights from a publisher you trust, as safetensors if there are any."
            )
        self.stack.append(stand_in)

    def _call(self, _: object) -> None:
        stand_in, arguments = self._pop(2)
        if stand_in not in self.allowed.values() or not isinstance(arguments, tuple):
            raise UnsafePickle(f"it calls a {type(stand_in).__name__}.")
        self.stack.append(stand_in(*arguments))

    def _build(self, _: object) -> None:
        (state,) = self._pop(1)
        if not isinstance(self.stack[-1], StandIn):
            raise UnsafePickle(f"it sets the state of a {type(self.stack[-1]).__name__}.")
        self.stack[-1].fill(state)

    def _outside(self, _: object) -> None:
        (what,) = self._pop(1)
        if self.outside is None:
            raise UnsafePickle("it refers to something outside itself.")
        self.stack.append(self.outside(what))

    def _keep(self, at: int | None) -> None:
        self.memo[len(self.memo) if at is None else at] = self.stack[-1]


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "TUPLE": Machine._tuple,
    "SETITEM": lambda machine, _: machine._extend(machine._pop(2)),
    "SETITEMS": lambda machine, _: machine._extend(machine._above_mark()),
    "APPEND": lambda machine, _: machine._extend(machine._pop(1)),
    "APPENDS": lambda machine, _: machine._extend(machine._above_mark()),
    "GLOBAL": lambda machine, named: machine._global(*named.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._global(*machine._pop(2)),
    "BINPERSID": Machine._outside,
    "REDUCE": Machine._call,
    "BUILD": Machine._build,
    "MEMOIZE": Machine._keep,
    **{name: Machine._keep for name in ("BINPUT", "LONG_BINPUT")},
    **{name: lambda machine, at: machine.stack.append(machine.memo[at]) for name in ("BINGET", "LONG_BINGET")},
}
