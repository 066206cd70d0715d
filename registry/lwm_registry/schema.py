"""The options of a class, read from the class itself: its dataclass fields, or the signature of `__init__`.

Owns what an option is and how its type is described to a person. Types must be real ones: a class that hides
them behind `from __future__ import annotations` is read through its module, and refused when that fails.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lwm_registry.errors import BrokenPlugin
from lwm_registry.kinds import KINDS, SHARED, Kind


MISSING: Any = dataclasses.MISSING


class Option(NamedTuple):
    """One option: its name, its type, and its default or what makes it (both `MISSING`: it must be given)."""

    name: str
    annotation: Any
    default: Any = MISSING
    factory: Any = MISSING

    @property
    def required(self) -> bool:
        return self.default is MISSING and self.factory is MISSING

    @property
    def value(self) -> Any:
        """The default of an option that is not required."""
        return self.default if self.factory is MISSING else self.factory()


def options_of(cls: type) -> dict[str, Option]:
    """The options of a class by name, in order."""
    if dataclasses.is_dataclass(cls) and cls.__dataclass_params__.init:  # type: ignore[attr-defined]
        hints = _hints(cls, {f.name: f.type for f in dataclasses.fields(cls)})
        return {
            field.name: Option(field.name, hints[field.name], field.default, field.default_factory)
            for field in dataclasses.fields(cls)
            if field.init
        }
    owner = next((c for c in cls.__mro__ if isinstance(vars(c).get("__init__"), types.FunctionType)), None)
    if owner is None or getattr(owner, "_is_protocol", False):
        return {}
    given = list(inspect.signature(owner.__init__).parameters.values())[1:]
    named = [p for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    untyped = {p.name: Any if p.annotation is p.empty else p.annotation for p in named}
    hints = _hints(owner.__init__, untyped)
    return {p.name: Option(p.name, hints[p.name], MISSING if p.default is p.empty else p.default) for p in named}


def _hints(owner: Any, annotations: dict[str, Any]) -> dict[str, Any]:
    """The annotations, with any that are strings looked up in the owner's module."""
    if not any(isinstance(annotation, str) for annotation in annotations.values()):
        return annotations
    try:
        return {**annotations, **typing.get_type_hints(owner)}
    except Exception as error:
        raise BrokenPlugin(
            f"The option types of {owner.__module__}.{owner.__qualname__} are strings that cannot be resolved "
            f"({error}): write them as real types, without `from __future__ import annotations`."
        ) from error


def path_of(annotation: Any) -> str:
    """`"module:Class"` of a type, as the tables in `kinds` write it; empty for anything else."""
    annotation = typing.get_origin(annotation) or annotation
    return f"{annotation.__module__}:{annotation.__qualname__}" if inspect.isclass(annotation) else ""


def kind_of(annotation: Any, kinds: Mapping[str, Kind] = KINDS) -> str | None:
    """The kind, of these, whose interface this type is, or is a class of; None for a type that is no interface."""
    cls = typing.get_origin(annotation) or annotation
    paths = [path_of(base) for base in cls.__mro__] if inspect.isclass(cls) else []
    return next((kind for path in paths for kind, entry in kinds.items() if entry.interface == path), None)


def shared_name(annotation: Any) -> str | None:
    """The shared object that fills an option of this type when it is not given, such as "tokenizer"."""
    arms = [arm for arm in arms_of(annotation) if arm is not type(None)]
    paths = [path_of(base) for arm in arms if inspect.isclass(arm) for base in arm.__mro__]
    return next((name for name, path in SHARED.items() if path in paths), None)


def arms_of(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union; one for anything else. `Annotated` is taken off."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def spell(annotation: Any) -> str:
    """A type in a person's words: `int`, `tuple of int`, `one of 'a', 'b'`, `kernel`."""
    first, *others = arms_of(annotation)
    if others:
        return " or ".join(spell(arm) for arm in (first, *others))
    return _spelled(first, typing.get_origin(first), typing.get_args(first))


def _spelled(annotation: Any, origin: Any, arguments: Sequence[Any]) -> str:
    if annotation is None or annotation is type(None):
        return "none"
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if kind_of(annotation):
        return f"{kind_of(annotation)} part"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"table of {spell(arguments[1])}" if len(arguments) == 2 else "table"
    if inspect.isclass(origin) and arguments:
        inner = dict.fromkeys(spell(argument) for argument in arguments if argument is not Ellipsis)
        count = f"{len(arguments)} " if origin is tuple and Ellipsis not in arguments else ""
        return f"list of {count}{' and '.join(inner)}"
    names = {str: "text", Path: "path", bool: "true or false", Any: "anything"}
    return names.get(annotation) or getattr(annotation, "__name__", str(annotation))
