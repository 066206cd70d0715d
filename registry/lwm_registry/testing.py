"""What a plugin's author needs to test a plugin: its parts, built from their examples, against their kits.

    python -m lwm_registry.conformance NAME

runs every check over the plugin of that name; `check_component` runs them over one record. The kits are
`lwm_core.testing.<kind>`, or what a plugin names for a kind of its own; what a good part does is theirs to say.
"""

import importlib
import importlib.util
import json
from collections.abc import Callable
from typing import Any

from lwm_registry.catalog import Catalog
from lwm_registry.catalog import catalog as installed
from lwm_registry.errors import UnknownName, did_you_mean, listed
from lwm_registry.records import Record


def records_of(plugin: str | None = None, catalog: Catalog | None = None) -> list[Record]:
    """The records of one plugin, by entry point or distribution; of all plugins when no name is given."""
    chosen = catalog or installed()
    names = {name for p in chosen.plugins for name in (p.name, p.distribution)}
    if plugin is not None and plugin not in names:
        raise UnknownName(f"There is no plugin {plugin!r}.{did_you_mean(plugin, names)} Installed: {listed(names)}.")
    return [record for record in chosen.list() if plugin in (None, record.plugin, record.distribution)]


def kit(kind: str, catalog: Catalog | None = None) -> Callable[[Any], None]:
    """The conformance kit of a kind, which raises `AssertionError`; a plugin names that of a kind it adds."""
    module, _, name = (catalog or installed()).kinds[kind].kit_of(kind).partition(":")
    if importlib.util.find_spec(module) is None:
        raise AssertionError(f"The kind {kind!r} has no conformance kit: write {module} with {name}(part).")
    return getattr(importlib.import_module(module), name)


def check_record(record: Record) -> None:
    """The record works and says what it is."""
    assert record.state == "ok", f"{record.origin}: {record.error}"
    assert record.summary.strip(), f"{record.kind} {record.name} ({record.origin}) has no summary."


def check_round_trip(record: Record, catalog: Catalog | None = None) -> None:
    """The example builds, turns into JSON data, and that data builds a part with the same data."""
    chosen = catalog or installed()
    data = chosen.data(chosen.build(record.kind, chosen.example(record)))
    again = chosen.data(chosen.build(record.kind, json.loads(json.dumps(data))))
    assert again == data, f"{record.kind} {record.name} turns into {data}, which builds {again}."


def check_component(record: Record, catalog: Catalog | None = None) -> None:
    """The part that the example builds passes the kit of its kind.

    Raises `lwm_core.testing.unchecked.Unchecked` where the part needs another machine.
    """
    chosen = catalog or installed()
    kit(record.kind, chosen)(chosen.build(record.kind, chosen.example(record)))
