"""`lwm validate`: is this data what a source takes, and what is in it?

Owns which source reads what a path looks like, and how findings are shown. Reading and judging records is each
source's own `scan`; another kind of data joins in with one line of `LOOKS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json
from lwm_registry.cli.problems import FAILURE
from lwm_registry.errors import RegistryError, listed


def _ends(*endings: str) -> Callable[[str], bool]:
    packed = tuple(f"{ending}{pack}" for ending in endings for pack in ("", ".gz", ".zst"))
    return lambda path: path.lower().endswith(packed) and not Path(path).is_dir()


def _holds(*names: str) -> Callable[[str], bool]:
    return lambda path: any((Path(path) / name).is_file() for name in names)


# What a path looks like → the source that reads such data, whose class has `scan(path, records, longest)`.
LOOKS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (_ends(".shard.parquet"), "shards"),
    (_holds("shards.json", "ingest.json"), "shards"),
    (_ends(".jsonl", ".ndjson", ".json"), "jsonl"),
    (_ends(".parquet"), "parquet"),
    (_ends(".txt", ".text", ".md"), "text"),
    (_holds("dataset_info.json", "dataset_dict.json"), "dataset"),
)


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, patterns or URLs of data.")],
    template: Annotated[str, typer.Option("--template", help="The source's template, instead of the schema.")] = "",
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="A field that the source takes, or name:modality; repeat it.")
    ] = None,
    codebook: Annotated[int | None, typer.Option("--codebook", help="How many codes the vision tokenizer has.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Count tokens too: a text_tokenizer, or a tokenizer.json.")
    ] = None,
    source: Annotated[str | None, typer.Option("--as", help="The source, where the name does not tell.")] = None,
    longest: Annotated[int, typer.Option("--longest", min=1, help="Bytes that one record may take.")] = 1 << 26,
    errors: Annotated[int, typer.Option("--errors", min=0, help="How many bad records to show for each file.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Check data before training: names file, line, field and fix of every bad record, and counts the good ones.

    Exit code 0 when all is good, 1 when something is not. docs/data.md describes the records.

    Example: lwm validate train.jsonl --tokenizer tokenizer.json
    """
    from lwm_core.data.records import Field, Records
    from lwm_core.data.survey import Survey

    pairs = [name.partition(":") for name in fields or ()]
    chosen = tuple(Field(name, modality or "text") for name, _, modality in pairs)
    made = None if tokenizer is None else _tokenizer(tokenizer)
    records = Records(chosen, template, codebook=codebook, tokenizer=made)
    surveys = []
    for path in _paths(files):
        name = source or _looks(path)
        survey = Survey(path, errors, made)
        survey.take(_scan(name)(path, records, longest))
        surveys.append({"as": name, **survey.data(), **_about(name, path, survey)})
    ok = not any(survey["bad"] for survey in surveys)
    if as_json:
        print_json({"ok": ok, **{key: sum(s[key] for s in surveys) for key in ("good", "bad")}, "files": surveys})
    else:
        _print(surveys)
    if not ok:
        raise typer.Exit(FAILURE)


def _paths(given: list[str]) -> list[str]:
    from lwm_core.data.files import expanded

    return [path for one in given for path in ([one] if Path(one).is_dir() else expanded([one]))]


def _looks(path: str) -> str:
    name = next((name for looks, name in LOOKS if looks(path)), None)
    if name is None:
        raise RegistryError(
            f"{path}: its name does not tell what is in it: say so with --as, one of "
            f"{listed({name for _, name in LOOKS})}."
        )
    return name


def _scan(name: str) -> Callable[..., Any]:
    cls = catalog().target(catalog().find("source", name))
    if not hasattr(cls, "scan"):
        can = [n for n in catalog().names("source") if any(n == known for _, known in LOOKS)]
        raise RegistryError(f"The source {name!r} has no scan(), so its data cannot be checked; {listed(can)} can.")
    return cls.scan


def _about(name: str, path: str, survey: Any) -> dict[str, Any]:
    """What a kind of file says of itself, where it has a header and that can be read."""
    cls: Any = catalog().target(catalog().find("source", name))
    return {"about": cls.about(path)} if hasattr(cls, "about") and survey.good else {}


def _tokenizer(given: str) -> Any:
    is_file = given.endswith(".json") or Path(given).is_file()
    return catalog().build("text_tokenizer", {"use": "bpe", "path": given} if is_file else given)


def _print(surveys: list[dict[str, Any]]) -> None:
    for found in surveys:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items()) or "none"
        print(f"{found['file']}: {found['good']} good ({kinds}), {found['bad']} bad")
        if "about" in found:
            print("  header: " + ", ".join(f"{name} {value}" for name, value in found["about"].items()))
        for measure in ("chars", "codes", "tokens"):
            if sizes := found[measure]:
                print(f"  {measure}: " + ", ".join(f"{name} {size:,}" for name, size in sizes.items()))
        if found["fields"]:
            print("  fields: " + ", ".join(f"{name} ({count})" for name, count in list(found["fields"].items())[:20]))
        for error in found["errors"]:
            print(f"  {error['message']}")
        if found["bad"] > len(found["errors"]):
            print(f"  ... and {found['bad'] - len(found['errors'])} more bad records (--errors shows more)")
        if len(found["faults"]) > 1 or found["bad"] > len(found["errors"]):
            print("  faults: " + ", ".join(f"{fault} ({count})" for fault, count in found["faults"].items()))
