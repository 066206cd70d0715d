"""The catalog: everything that is installed, by kind and name.

Owns lookup, clashes and the messages for names that are not there. Finding plugins is `discovery`'s, turning
data into parts `building`'s. Listing imports no part; a part is imported when it is first used.
"""

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from lwm_registry.building import Builder, check_shared
from lwm_registry.discovery import Plugin, discover, kinds_of
from lwm_registry.errors import BrokenPlugin, NameClash, UnknownName, brief, did_you_mean, listed
from lwm_registry.kinds import SHARED
from lwm_registry.located import located
from lwm_registry.plain import Plain
from lwm_registry.records import Component, Recipe, Record


# `Catalog.list` hides the builtin inside the class body, where annotations are read.
Records = list[Record]
Names = list[str]
Recipes = list[tuple[Plugin, Recipe]]


class Catalog:
    """Parts and recipes of these plugins. Immutable. `kinds`: those of the core, then those of the plugins."""

    def __init__(self, plugins: Iterable[Plugin]):
        self.plugins = tuple(plugins)
        self.kinds, clashes = kinds_of(self.plugins)
        self._records = (*clashes, *(record for plugin in self.plugins for record in plugin.records(self.kinds)))

    @staticmethod
    def of(*components: Component, plugin: str = "here") -> "Catalog":
        """A catalog of these components alone, as one plugin; for programs and tests."""
        return Catalog([Plugin(plugin, plugin, "0", components)])

    def list(self, kind: str | None = None) -> Records:
        """The lines of the catalog, of one kind or all, in order of kind, name and plugin."""
        if kind is not None:
            self._check_kind(kind)
        order = [*self.kinds, "recipe", "interface", "plugin"]
        chosen = [r for r in self._records if kind in (None, r.kind)]
        return sorted(chosen, key=lambda r: (order.index(r.kind) if r.kind in order else -1, r.name, r.plugin))

    def names(self, kind: str) -> Names:
        """What may stand after `use`: the name, or `plugin:name` where two plugins offer it."""
        good = [record for record in self.list(kind) if record.state == "ok"]
        return [r.qualified if len(self.named(kind, r.name)) > 1 else r.name for r in good]

    def named(self, kind: str, name: str) -> Records:
        """Every working record of this kind and name; `name` may be `plugin:name` or `distribution:name`."""
        owner, _, short = name.rpartition(":")
        return [
            r
            for r in self._records
            if (r.kind, r.name, r.state) == (kind, short, "ok") and owner in ("", r.plugin, r.distribution)
        ]

    def find(self, kind: str, name: str) -> Record:
        """The one record of this kind and name; raises `UnknownName`, `NameClash` or `BrokenPlugin`."""
        self._check_kind(kind)
        found = self.named(kind, name)
        if len(found) == 1:
            return found[0]
        if found:
            raise NameClash(
                f"Several plugins offer the {kind} {name!r}: {', '.join(r.origin for r in found)}. "
                f"Write one of {listed(_tell_apart(found))}."
            )
        raise self._unknown(kind, name, self.names(kind))

    def target(self, record: Record) -> type:
        """The class of a record, imported now; raises `BrokenPlugin` with the plugin's own error."""
        module, _, name = record.target.partition(":")
        try:
            found = importlib.import_module(module)
            for step in name.split("."):
                found = getattr(found, step)
        except Exception as error:
            raise BrokenPlugin(
                f"The {record.kind} {record.name!r} ({record.origin}) cannot be imported from {record.target}: "
                f"{brief(error)}"
            ) from error
        if not isinstance(found, type):
            raise BrokenPlugin(
                f"The {record.kind} {record.name!r} ({record.origin}) names {record.target}, which is no class: "
                "the class is the option schema."
            )
        return found

    def interface(self, kind: str) -> type:
        """The interface that parts of this kind have."""
        self._check_kind(kind)
        module, _, name = self.kinds[kind].interface.partition(":")
        return getattr(importlib.import_module(module), name)

    def build(self, kind: str, spec: Any, *, site: Any = None, **shared: Any) -> Any:
        """The part that `spec` describes.

        **Arguments:**

        - `kind`: one of `kinds`;
        - `spec`: `{"use": name, option: value, ...}`, or the name alone; a finished part passes through;
        - `site`: an `AttentionSite`, which `{"use": "auto"}` asks its candidates about;
        - `shared`: what fills options that are not given: objects by interface (`tokenizer`, `vision`,
          `vocabulary`, `attention`, `rope`), numbers and text by the option's name.
        """
        self._check_kind(kind)
        check_shared(shared)
        return Builder(self, shared, site).part(kind, spec, kind)

    def example(self, record: Record) -> Any:
        """The data of the small working instance that a record names, ready for `build`."""
        return located({"use": record.qualified, **(record.example or {})}, record.folder)

    def data(self, part: Any, **shared: Any) -> Any:
        """The plain data that builds an equal part; objects of `shared` are left out."""
        return Plain(self, {k: v for k, v in shared.items() if k in SHARED}).write(part, type(part).__name__)

    def record_of(self, cls: type) -> Record | None:
        """The record that names this class."""
        path = f"{cls.__module__}:{cls.__qualname__}"
        good = [record for record in self._records if record.state == "ok"]
        exact = next((record for record in good if record.target == path), None)
        if exact is not None:
            return exact
        root = cls.__module__.partition(".")[0]
        family = [r for r in good if r.target.partition(":")[0].partition(".")[0] == root]
        renamed = [r for r in family if r.target.endswith(f":{cls.__qualname__}")]
        return next((record for record in renamed if self.target(record) is cls), None)

    def recipes(self) -> Recipes:
        """Every recipe, with the plugin that ships it, in order of name."""
        every = [(plugin, recipe) for plugin in self.plugins for recipe in plugin.recipes]
        return sorted(every, key=lambda pair: (pair[1].name, pair[0].name))

    def recipe(self, name: str) -> Recipe:
        """The recipe of this name, or `plugin:name`."""
        owner, _, short = name.rpartition(":")
        found = [(p, r) for p, r in self.recipes() if r.name == short and owner in ("", p.name, p.distribution)]
        if len(found) == 1:
            return found[0][1]
        if found:
            raise NameClash(
                f"Several plugins offer the recipe {name!r}: "
                f"write one of {listed(f'{plugin.name}:{recipe.name}' for plugin, recipe in found)}."
            )
        names = [recipe.name for _, recipe in self.recipes()]
        raise self._unknown("recipe", name, names, " Or give the path of a .toml file.")

    def broken(self) -> Records:
        """The broken plugins and records."""
        return [record for record in self.list() if record.state == "broken"]

    def _check_kind(self, kind: str) -> None:
        if kind not in self.kinds:
            raise UnknownName(
                f"There is no kind {kind!r}.{did_you_mean(kind, self.kinds)} The kinds are {', '.join(self.kinds)}."
            )

    def _unknown(self, kind: str, name: str, names: Iterable[str], more: str = "") -> UnknownName:
        names = list(names)
        broken = "".join(f"\nNote: {r.origin} is broken: {r.error}" for r in self.broken())
        hint = did_you_mean(name, names)
        return UnknownName(f"There is no {kind} {name!r}.{hint} Installed: {listed(names)}.{more}{broken}")


def _tell_apart(records: Iterable[Record]) -> list[str]:
    records = list(records)
    by_plugin = {record.qualified for record in records}
    if len(by_plugin) == len(records):
        return sorted(by_plugin)
    return sorted(f"{record.distribution}:{record.name}" for record in records)


@functools.cache
def catalog() -> Catalog:
    """The catalog of what is installed in this environment; made once per process."""
    return Catalog(discover())
