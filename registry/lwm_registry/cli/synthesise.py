"""`lwm synthesise`: the examples of a source of questions, written to a file of records. The work is the source's.

Owns which source of the recipe is meant, and what is said at the end.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import overrides_of, print_json, print_table
from lwm_registry.cli.problems import INTERRUPTED
from lwm_registry.errors import RegistryError, UnknownName, did_you_mean, listed


def synthesise(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml file.")],
    out: Annotated[Path, typer.Option("--out", help="The .jsonl file to write, or to go on with.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Which of the recipe's sources.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Write questions and answers on long documents as chat records; started again, it goes on where it stopped.

    Example: lwm synthesise questions --out qa.jsonl sources.questions.documents.paths='["book.txt"]'
    """
    part = _source(recipe, overrides_of(overrides or ()), source)
    try:
        written = part.write_records(out)
    except KeyboardInterrupt:
        print(f"lwm: stopped. The same command goes on with {out}.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json({"out": str(out), **written})
        return
    rows = [(key, value if not isinstance(value, dict) else _counts(value)) for key, value in written.items()]
    print_table(("of", "count"), rows, str(out))
    print(f'`lwm validate {out}` checks it; a source of use = "jsonl" reads it.')


def _source(recipe: str, overrides: dict[str, Any], name: str | None) -> Any:
    """The source that is meant, with the recipe's tokenizer."""
    from lwm_registry.building import Builder
    from lwm_registry.pipelines import Composer
    from lwm_registry.recipes import read

    composer = Composer(catalog(), read(recipe, catalog(), overrides))
    specs = composer.tables.get("sources", {})
    name = name or _only(recipe, specs)
    if name not in specs:
        raise UnknownName(f"{recipe} has no source {name!r}.{did_you_mean(name, specs)} It has {listed(specs)}.")
    composer.shared["tokenizer"] = composer.required("tokenizer", "text_tokenizer")
    part = Builder(catalog(), composer.shared).part("source", specs[name], f"sources.{name}")
    if not hasattr(part, "write_records"):
        raise RegistryError(
            f'sources.{name} is a {type(part).__name__}, which writes no records: give one of use = "synthesis".'
        )
    return part


def _only(recipe: str, specs: Any) -> str:
    uses = {name: spec.get("use", "") for name, spec in specs.items() if hasattr(spec, "get")}
    asked = [name for name, use in uses.items() if str(use).rpartition(":")[2] == "synthesis"]
    if len(asked) != 1:
        what = f"has several sources of questions, {listed(asked)}" if asked else 'has no source of use = "synthesis"'
        raise RegistryError(f"{recipe} {what}: add --source with one of {listed(specs)}.")
    return asked[0]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "nothing"
