"""`lwm bench stream`: memory and speed of the data stream over many tokens.

Owns what is streamed and how results are shown and kept; sampling is `lwm_core.bench`'s.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table


MIXTURE = {"web": 0.7, "books": 0.3}


def stream(
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="How many to stream.")] = 1_000_000_000,
    every: Annotated[int, typer.Option("--every", min=1, help="Tokens between samples of memory.")] = 10_000_000,
    packer: Annotated[str, typer.Option("--packer", help="A packer, its other options by default.")] = "best-fit",
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens in a row; 16 rows in a step.")] = 32_768,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Stream made-up documents of ids, short and long ones 7:3 by tokens, and sample the memory of the process.

    Example: lwm bench stream --tokens 100000000
    """
    from lwm_core.bench.report import facts
    from lwm_core.bench.soak import MadeUp, soak

    made = catalog().build("packer", {"use": packer, "length": length})
    sources = {"web": MadeUp(median=1000), "books": MadeUp(count=2000, median=60_000, spread=0.5)}
    record = soak(made, tokens, every, sources, MIXTURE)
    result = {"run": facts(shlex.join(["lwm", *sys.argv[1:]]), [], ("grain",)), "record": record}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "stream.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if as_json:
        print_json(result)
        return
    megabytes = [f"{record[key] / 1e6:,.0f}" for key in ("resident_bytes_after_a_tenth", "resident_bytes_most")]
    cells = (f"{record['tokens']:,}", f"{record['tokens_per_second']:,.0f}", *megabytes, f"{record['growth']:+.1%}")
    print_table(("tokens", "tok/s", "MB after a tenth", "MB at most", "growth since"), [cells])
