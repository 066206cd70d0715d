"""Plain data to parts: options are converted by the annotations of the class that takes them.

Owns construction, conversion, filling in shared objects, and the opt-in `{"use": "auto"}`. What exists and what
it is called is the catalog's business; the way back from a part to data is `plain`'s.
"""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from lwm_registry.conversion import Conversion
from lwm_registry.errors import BadOption, BrokenPlugin, RegistryError, UnknownName, did_you_mean, listed, message
from lwm_registry.kinds import SHARED
from lwm_registry.located import bare
from lwm_registry.schema import Option, options_of, path_of, shared_name, spell


@dataclasses.dataclass(frozen=True)
class Builder:
    """Builds parts for one call of `Catalog.build`.

    - `catalog`: where names are looked up; - `shared`: objects that fill options which are not given;
    - `site`: what "auto" asks candidates about, if it is known.
    """

    catalog: Any
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    site: Any = None

    def part(self, kind: str, spec: Any, where: str) -> Any:
        """A part from its data; a text is short for `{"use": text}`, and a finished part passes through."""
        if isinstance(spec, str):
            spec = {"use": spec}
        if spec is None or isinstance(spec, bool | int | float | list):
            raise BadOption(
                f"{where} = {bare(spec)!r} is no {kind}: give a name, or a table with use = NAME. "
                f"Names: {listed(self.catalog.names(kind))}."
            )
        if not isinstance(spec, Mapping):
            return self._conforming(kind, spec, where)
        if "object" in spec and "use" not in spec:
            raise BadOption(
                f"{where} was a {spec['object']}, which is a part of no plugin: give an object in its place, "
                f"as an override of {where!r}, or name one of {listed(self.catalog.names(kind))}."
            )
        if not isinstance(spec.get("use"), str):
            raise BadOption(
                f"{where} = {bare(spec)!r} does not say which {kind}: add use = NAME. "
                f"Names: {listed(self.catalog.names(kind))}."
            )
        if spec["use"] == "auto":
            return self._auto(kind, spec, where)
        record = self.catalog.find(kind, spec["use"])
        options = {key: value for key, value in spec.items() if key != "use"}
        inherited = getattr(spec, "inherited", frozenset())
        built = self.construct(self.catalog.target(record), options, where, f"{kind} {spec['use']!r}", inherited)
        return self._conforming(kind, built, where)

    def construct(
        self, cls: type, options: Mapping[str, Any], where: str, title: str, inherited: frozenset[str] = frozenset()
    ) -> Any:
        """An instance of `cls`; `title` names it in messages."""
        schema = options_of(cls)
        values = {}
        for name, value in options.items():
            if name in schema:
                values[name] = Conversion(self).convert(schema[name].annotation, value, f"{where}.{name}")
            elif name not in inherited:
                raise UnknownName(
                    f"{where}: {title} has no option {name!r}.{did_you_mean(name, schema)} "
                    f"Its options are {listed(schema)}."
                )
        for option in schema.values():
            if option.name not in values:
                values |= self._filled(option, where, title)
        return self._called(cls, values, where)

    def _filled(self, option: Option, where: str, title: str) -> dict[str, Any]:
        """An option that was not given: shared by the pipeline, or left to its default."""
        plain = self.shared.get(option.name)
        if isinstance(plain, int | float | str):
            return {option.name: Conversion(self).convert(option.annotation, plain, f"{where}.{option.name}")}
        common = self.shared.get(shared_name(option.annotation) or "")
        if common is not None:
            return {option.name: common}
        if option.required:
            raise BadOption(
                f"{where}: {title} needs the option {option.name!r} ({spell(option.annotation)})."
                f"{self.choices(option.annotation)}"
            )
        return {}

    def choices(self, annotation: Any) -> str:
        """` Give one of ...`, for an option that takes a part."""
        kinds = [kind for kind, entry in self.catalog.kinds.items() if entry.interface == path_of(annotation)]
        return f" Give one of {listed(self.catalog.names(kinds[0]))}." if kinds else ""

    def _called(self, cls: type, values: dict[str, Any], where: str) -> Any:
        try:
            return cls(**values)
        except RegistryError:
            raise
        except ValueError as error:
            raise BadOption(f"{where}: {message(error)}") from error

    def _conforming(self, kind: str, part: Any, where: str) -> Any:
        """The part, when it is what its kind promises."""
        interface = self.catalog.interface(kind)
        if getattr(interface, "_is_protocol", False):
            lacking = sorted(name for name in _members(interface) if not hasattr(part, name))
        else:
            lacking = [] if isinstance(part, interface) else [interface.__name__]
        if lacking:
            raise BrokenPlugin(
                f"{where}: {type(part).__name__} is not a {kind}: it lacks {listed(lacking)}. "
                f"A {kind} is a {self.catalog.kinds[kind].interface.replace(':', '.')}."
            )
        return part

    def _auto(self, kind: str, spec: Mapping[str, Any], where: str) -> Any:
        """The first candidate that can be built and accepts the site; says which, and why not the others."""
        order = list(spec.get("order", self.catalog.kinds[kind].auto))
        if not order:
            raise BadOption(
                f"{where}: {kind} has no automatic choice: name one of {listed(self.catalog.names(kind))}, "
                'or give the order, such as order = ["first", "second"].'
            )
        options = {key: value for key, value in spec.items() if key not in ("use", "order")}
        refusals = []
        for name in order:
            part, reason = self._candidate(kind, {"use": name, **options}, where)
            if part is not None:
                print(f"auto {kind}: chose {name}", file=sys.stderr)
                return part
            refusals.append(f"{name}: {reason}")
            print(f"auto {kind}: not {name}: {reason}", file=sys.stderr)
        raise BadOption(f"{where}: no candidate for {kind} fits. " + " ".join(refusals))

    def _candidate(self, kind: str, spec: Mapping[str, Any], where: str) -> tuple[Any, str]:
        try:
            part = self.part(kind, spec, where)
        except RegistryError as error:
            return None, str(error)
        if self.site is not None and hasattr(part, "supports"):
            support = part.supports(self.site)
            return (part, "") if support.ok else (None, support.reason)
        return part, ""


def _members(protocol: type) -> set[str]:
    """What a protocol asks for."""
    special = {"__call__", "__len__", "__getitem__", "__iter__"}
    owned = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    names = {name for base in owned for name in (*vars(base), *getattr(base, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_") or name in special}


def check_shared(shared: Mapping[str, Any]) -> None:
    """Raises for an object under a name that no part can ask for; plain numbers and text fill by option name."""
    for name, value in shared.items():
        if name not in SHARED and not isinstance(value, int | float | str | None):
            raise UnknownName(
                f"Nothing can ask for a shared {name!r}.{did_you_mean(name, SHARED)} Shared objects are "
                f"{listed(SHARED)}; numbers and text fill the options of the same name."
            )
