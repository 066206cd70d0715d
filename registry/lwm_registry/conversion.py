"""One plain value to one annotated type.

Owns the rules: text to path, list to tuple or array, int to float, table to record; a table or text where a part is
expected builds the part. Everything else must already be of the type, and the message says what was given.
"""

import collections.abc
import dataclasses
import enum
import inspect
import numbers
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_registry.errors import BadOption, RegistryError, did_you_mean, listed
from lwm_registry.located import Located, bare
from lwm_registry.schema import arms_of, kind_of, spell


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Conversions for one build; `builder` makes nested parts."""

    builder: Any

    def convert(self, annotation: Any, value: Any, where: str) -> Any:
        """`value` as the annotation has it; raises `BadOption` naming `where`, the value and the type."""
        arms = arms_of(annotation)
        if value is None and (type(None) in arms or None in arms):
            return None
        arms = [arm for arm in arms if arm not in (type(None), None)]
        if len(arms) == 1:
            return self._one(arms[0], value, where)
        arms.sort(key=lambda arm: (arm is not type(value), arm is not Path))
        failures = []
        for arm in arms:
            try:
                return self._one(arm, value, where)
            except RegistryError as error:
                failures.append(error)
        if isinstance(value, Mapping):  # a table was meant for the one arm that takes tables: its error helps
            raise failures[-1]
        raise _wrong(annotation, value, where)

    def _one(self, annotation: Any, value: Any, where: str) -> Any:
        if isinstance(annotation, typing.TypeVar) or annotation is Any or annotation is object:
            return self._anything(value, where)
        if annotation in _SIMPLE:
            return _SIMPLE[annotation](annotation, value, where)
        origin = typing.get_origin(annotation)
        if origin is typing.Literal:
            return _literal(annotation, value, where)
        kind = kind_of(annotation, self.builder.catalog.kinds)
        if kind:
            return self._part(kind, annotation, value, where)
        if inspect.isclass(origin or annotation):
            return self._class(origin or annotation, annotation, value, where)
        raise _wrong(annotation, value, where)

    def _class(self, cls: type, annotation: Any, value: Any, where: str) -> Any:
        arguments = typing.get_args(annotation)
        if issubclass(cls, collections.abc.Mapping):
            return self._mapping(annotation, arguments, value, where)
        if cls in (tuple, list, collections.abc.Sequence, set, frozenset):
            return self._sequence(cls, annotation, arguments, value, where)
        if issubclass(cls, enum.Enum):
            return _member(cls, value, where)
        if f"{cls.__module__}.{cls.__qualname__}" == "numpy.ndarray" and isinstance(value, list | tuple):
            return _array(annotation, value, where)
        if not getattr(cls, "_is_protocol", False) and isinstance(value, cls):
            return value
        if dataclasses.is_dataclass(cls) and isinstance(value, Mapping) and "use" not in value:
            return self.builder.construct(cls, value, where, cls.__name__)
        raise _wrong(annotation, value, where)

    def _part(self, kind: str, annotation: Any, value: Any, where: str) -> Any:
        if isinstance(value, bool | int | float | list):
            raise _wrong(annotation, value, where, self.builder.choices(annotation))
        part = self.builder.part(kind, value, where)
        cls = typing.get_origin(annotation) or annotation
        if not getattr(cls, "_is_protocol", False) and not isinstance(part, cls):
            raise BadOption(f"{where} is a {type(part).__name__}: it must be a {cls.__name__}.")
        return part

    def _mapping(self, annotation: Any, arguments: tuple, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(annotation, value, where)
        if len(arguments) != 2:
            return bare(value)
        return {
            self.convert(arguments[0], key, f"a key of {where}"): self.convert(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }

    def _sequence(self, cls: type, annotation: Any, arguments: tuple, value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise _wrong(annotation, value, where)
        items = list(value)
        fixed = cls is tuple and arguments and Ellipsis not in arguments
        if fixed and len(items) != len(arguments):
            raise _wrong(annotation, value, where)
        inner = arguments if fixed else (arguments[:1] or (Any,)) * len(items)
        made = [
            self.convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(inner, items, strict=True))
        ]
        return (tuple if cls is collections.abc.Sequence else cls)(made)

    def _anything(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping) and "use" in value:
            raise BadOption(f"{where} takes anything, so `use` cannot say which kind is meant: build it first.")
        return bare(value) if isinstance(value, Mapping | list | str) else value


def _boolean(annotation: Any, value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(annotation, value, where)
    return value


def _integer(annotation: Any, value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _wrong(annotation, value, where)
    return int(value)


def _float(annotation: Any, value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _wrong(annotation, value, where)
    return float(value)


def _text(annotation: Any, value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(annotation, value, where)
    return str(value)


def _path(annotation: Any, value: Any, where: str) -> Path:
    if isinstance(value, Located) and "://" not in value:
        return value.path
    if not isinstance(value, str | Path):
        raise _wrong(annotation, value, where)
    if "://" in str(value):
        raise _wrong(annotation, value, where, " A URL is no path on this machine.")
    return Path(value)


_SIMPLE = {bool: _boolean, int: _integer, float: _float, str: _text, Path: _path}


def _literal(annotation: Any, value: Any, where: str) -> Any:
    allowed = typing.get_args(annotation)
    for choice in allowed:
        if choice == value and type(choice) in (type(value), type(bare(value))):
            return choice
    hint = did_you_mean(value, [str(choice) for choice in allowed]) if isinstance(value, str) else ""
    raise _wrong(annotation, value, where, hint)


def _member(cls: type[enum.Enum], value: Any, where: str) -> enum.Enum:
    for member in cls:
        if value in (member, member.value, member.name):
            return member
    raise BadOption(f"{where} = {bare(value)!r}: give one of {listed(m.name for m in cls)}.")


def _array(annotation: Any, value: Any, where: str) -> Any:
    import numpy  # here, since the command line lists parts without it

    try:
        made = numpy.asarray(value)
    except ValueError:  # rows of unequal length
        raise _wrong(annotation, value, where) from None
    if made.dtype.kind not in "biuf":
        raise _wrong(annotation, value, where)
    return made


def _wrong(annotation: Any, value: Any, where: str, more: str = "") -> BadOption:
    given = bare(value)
    name = {str: "text", dict: "a table", list: "a list", bool: "true or false", types.NoneType: "nothing"}
    kind = name.get(type(given), f"of type {type(given).__name__}")
    return BadOption(f"{where} = {given!r} is {kind}: it must be {spell(annotation)}.{more}")
