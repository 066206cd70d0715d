"""`lwm ablate`: one recipe trained in several ways over several seeds. Owns how results are shown and kept."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import overrides_of, print_json, print_table


def ablate(
    name: Annotated[str, typer.Argument(help="An ablation: packing, or the path of a .toml file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of the recipe, for every arm.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many: 0, 1, 2, ...")] = 4,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON, the table and a figure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Train every arm of an ablation with every seed, and show what the arms differ in and by how much.

    Example: lwm ablate packing --seeds 4 --out benchmarks/results
    """
    from lwm_registry import ablation, ablation_report

    chosen = ablation.named(name)
    given = overrides_of(overrides or ())
    records = ablation.run_all(chosen, range(seeds), given, lambda line: print(line, file=sys.stderr, flush=True))
    result = ablation_report.result(chosen, records, shlex.join(["lwm", *sys.argv[1:]]))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        stem = out / f"ablation-{Path(name).stem}"
        stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        stem.with_suffix(".md").write_text(ablation_report.markdown(result), "utf-8")
        lacking = ablation_report.drawn(result, stem.with_suffix(".png"))
        print(f"no figure: {lacking}" if lacking else f"wrote {out}", file=sys.stderr)
    if as_json:
        print_json(result)
        return
    print_table(ablation_report.COLUMNS, ablation_report.rows(result))
