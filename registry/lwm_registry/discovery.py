"""Finds plugins and takes their records, each plugin on its own: a broken one becomes a record, not a crash.

Owns the entry-point loop, its order (distribution, then entry point, so that every host finds the same), the
allow and block lists, and what a broken plugin says. It imports no part: only the light `lwm_x.plugin` modules.

Environment: `LWM_PLUGINS="core,ring"` loads only these ("" loads none), `LWM_PLUGINS_BLOCK="x,y"` all but
these, `LWM_PLUGINS_STRICT=1` raises at the first broken plugin. Names are entry points or distributions.
"""

import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

from lwm_registry import hookspecs
from lwm_registry.errors import BrokenPlugin, brief, did_you_mean, listed
from lwm_registry.kinds import KINDS, Kind
from lwm_registry.records import Component, Interface, Recipe, Record


HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("lwm_"))


@dataclass(frozen=True)
class Plugin:
    """One plugin after discovery: what it offers, or why it is broken.

    `manager` calls this plugin's hooks alone; None when it could not be loaded. `folder` is its module's.
    """

    name: str
    distribution: str
    version: str
    components: tuple[Component, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    faults: tuple[tuple[str, str, str], ...] = ()
    error: str = ""
    manager: Any = None
    folder: Path = Path()

    def records(self, kinds: Mapping[str, Kind]) -> list[Record]:
        """The lines of this plugin in the catalog, broken ones included; a part of none of these kinds is broken."""
        provenance = (self.name, self.distribution, self.version)
        lines = [
            Record(
                c.kind,
                c.name,
                *provenance,
                c.summary,
                target=c.target,
                example=c.example,
                folder=self.folder,
                **({} if c.kind in kinds else {"state": "broken", "error": _no_kind(c.kind, kinds)}),
            )
            for c in self.components
        ]
        lines += [Record(kind, name, *provenance, "", "broken", error) for kind, name, error in self.faults]
        if self.error:
            lines.append(Record("plugin", self.name, *provenance, "", "broken", self.error))
        return lines


def discover(environment: Mapping[str, str] = os.environ) -> tuple[Plugin, ...]:
    """Every allowed plugin that is installed, in order of (distribution, entry point)."""
    entries = importlib.metadata.entry_points(group=hookspecs.GROUP)
    found = sorted(((e, e.dist) for e in entries if e.dist is not None), key=lambda pair: (pair[1].name, pair[0].name))
    plugins = [load(e.name, d.name, d.version, e.load) for e, d in found if _allowed({e.name, d.name}, environment)]
    if environment.get("LWM_PLUGINS_STRICT") == "1":
        kinds, clashes = kinds_of(plugins)
        for record in [*clashes, *(record for plugin in plugins for record in plugin.records(kinds))]:
            if record.state == "broken":
                raise BrokenPlugin(f"{record.origin} is broken: {record.error} (LWM_PLUGINS_STRICT=1)")
    return tuple(plugins)


def kinds_of(plugins: Iterable[Plugin]) -> tuple[dict[str, Kind], list[Record]]:
    """The core's kinds and those of these plugins, and a broken record for each that takes a name that is taken."""
    kinds, clashes = dict(KINDS), []
    for plugin in plugins:
        for new in plugin.interfaces:
            if new.name in kinds:
                error = f"there is a kind {new.name!r} already ({kinds[new.name].interface}): give it another name."
                where = (plugin.name, plugin.distribution, plugin.version)
                clashes.append(Record("interface", new.name, *where, "", "broken", error))
            else:
                kinds[new.name] = Kind(new.target, new.summary, kit=new.kit)
    return kinds, clashes


def _no_kind(kind: str, kinds: Mapping[str, Kind]) -> str:
    return f"there is no kind {kind!r}.{did_you_mean(kind, kinds)} The kinds are {listed(kinds)}."


def _allowed(names: set[str], environment: Mapping[str, str]) -> bool:
    """Whether the lists let a plugin in that answers to these names."""

    def listed_in(variable: str) -> bool:
        return bool(names & {name.strip() for name in environment[variable].split(",")})

    if "LWM_PLUGINS" in environment and not listed_in("LWM_PLUGINS"):
        return False
    return not ("LWM_PLUGINS_BLOCK" in environment and listed_in("LWM_PLUGINS_BLOCK"))


def load(name: str, distribution: str, version: str, importer) -> Plugin:
    """One plugin from `importer()`, which gives its module (or any object with hooks); never raises."""
    try:
        module = importer()
        manager = managed(module)
        components, component_faults = _take(manager, "lwm_components", Component)
        recipes, recipe_faults = _take(manager, "lwm_recipes", Recipe)
        interfaces, interface_faults = _take(manager, "lwm_interfaces", Interface)
    except (Exception, SystemExit) as error:
        return Plugin(name, distribution, version, error=brief(error))
    faults = (*component_faults, *recipe_faults, *interface_faults)
    folder = Path(getattr(module, "__file__", None) or "plugin.py").absolute().parent
    return Plugin(name, distribution, version, components, recipes, interfaces, faults, manager=manager, folder=folder)


def managed(module: object) -> pluggy.PluginManager:
    """A manager of one plugin; raises `BrokenPlugin` for a misspelt hook and for one that has none."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    callers = manager.get_hookcallers(module) or []
    for caller in callers:
        if caller.name not in HOOKS:
            hint = did_you_mean(caller.name, HOOKS)
            raise BrokenPlugin(f"there is no hook {caller.name!r}.{hint} The hooks are {listed(HOOKS)}.")
    manager.check_pending()
    if not callers:
        raise BrokenPlugin(
            "it implements no hook: put `@hookimpl` (from lwm_registry.hookspecs) above "
            "`def lwm_components():` in the module that the entry point names."
        )
    return manager


def _take(manager: pluggy.PluginManager, hook: str, record: type) -> tuple[tuple, list[tuple[str, str, str]]]:
    """The well-formed records of one hook, and a fault for each that is not."""
    good, faults = {}, []
    for item in _flat(getattr(manager.hook, hook)()):
        if not isinstance(item, record):
            raise BrokenPlugin(f"{hook} gives {item!r}: give {record.__name__} records only.")
        kind = getattr(item, "kind", record.__name__.lower())
        fault = item.fault()
        if (kind, item.name) in good:
            fault = f"the plugin offers the {kind} {item.name!r} twice: give each name once."
            del good[kind, item.name]
        if fault:
            faults.append((kind, item.name, fault))
        else:
            good[kind, item.name] = item
    return tuple(good.values()), faults


def _flat(results: Iterable[Iterable[Any]]) -> list[Any]:
    return [item for result in results for item in result]
