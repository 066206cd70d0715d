"""`lwm plugins`: what is installed. It imports no part unless asked, so that it works when parts do not."""

import dataclasses
from typing import Annotated

import typer

from lwm_registry.catalog import Catalog, catalog
from lwm_registry.cli.common import print_json, print_table
from lwm_registry.cli.problems import FAILURE
from lwm_registry.errors import RegistryError
from lwm_registry.records import Record


def plugins(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, such as attention.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list of records as JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Import every part too, and say which fail.")] = False,
) -> None:
    """List every part: kind, name, version, what it does, and what is broken.

    Example: lwm plugins attention
    """
    records = [checked(r) if check else r for r in catalog().list(kind)]
    if as_json:
        print_json([line(record) for record in records])
    else:
        rows = [(r.kind, r.name, r.distribution, r.version, r.state, _note(catalog(), r)) for r in records]
        print_table(("kind", "name", "distribution", "version", "state", "summary"), rows)
    if check and any(record.state == "broken" for record in records):
        raise typer.Exit(FAILURE)


def checked(record: Record) -> Record:
    """The record after importing its part."""
    if record.state == "broken":
        return record
    try:
        catalog().target(record)
    except RegistryError as error:
        return dataclasses.replace(record, state="broken", error=str(error))
    return record


def line(record: Record) -> dict[str, str]:
    """What `--json` prints of a record."""
    names = ("kind", "name", "distribution", "version", "summary", "state", "error", "plugin", "target")
    return {name: getattr(record, name) for name in names}


def _note(parts: Catalog, record: Record) -> str:
    if record.state == "broken":
        return record.error
    clash = [r.qualified for r in parts.named(record.kind, record.name) if r != record]
    return record.summary + (f" (write {record.qualified}: {', '.join(clash)} has the same name)" if clash else "")
