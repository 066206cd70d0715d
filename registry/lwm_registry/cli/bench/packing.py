"""`lwm bench packing`: packers of the catalog and Grain's own, on the lengths of 100,000 real documents.

Owns the choice of packers and how results are shown and kept; measuring is `lwm_core.bench.packing`'s.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table


PACKERS = ("best-fit", "first-fit", "sequential")
GRAIN = "grain best-fit"  # the same work: ids, and a weight for each
SPEED = ("length", "packer", "M tok/s", "times grain's", "rows", "over the fewest")
BALANCE = ("length", "ranks", "rows a rank", "max/mean as packed", "max/mean balanced")
SHARDS = ("length", "shards", "layout", "max/mean")


def packing(
    packer: Annotated[list[str] | None, typer.Option("--packer", help="A packer's name; three by default.")] = None,
    length: Annotated[list[int] | None, typer.Option("--length", min=16, help="Of a row; three by default.")] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Of one measurement, about.")] = 16_000_000,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds; medians are reported.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Measure packers in turns with Grain's best-fit packer: tokens a second, rows over the fewest, balance of ranks.

    Every packer takes the same documents and all rows are made. Grain's cuts nothing, so it gets long documents in rows
    already, outside its time; "ids alone" is the same without a loss weight for each token, which is less work.

    Example: lwm bench packing --length 8192 --json
    """
    from lwm_core.bench.report import facts

    lengths = length or [2048, 8192, 32768]
    records, ranks, shards = [], [], []
    for each in lengths:
        records += _speed(packer or PACKERS, each, tokens, repeats)
        print(f"rows of {each}: done", file=sys.stderr, flush=True)
        some_ranks, some_shards = _balance(each, tokens)
        ranks += some_ranks
        shards += some_shards
    run = facts(shlex.join(["lwm", *sys.argv[1:]]), [], ("grain",))
    result = {"run": run, "records": records, "balance": ranks, "shards": shards}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "packing.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print_json(result) if as_json else _print(result)


def _speed(names: tuple[str, ...] | list[str], length: int, tokens: int, repeats: int) -> list[dict[str, Any]]:
    from lwm_core.bench.packing import documents, grain_run, measured, packing_run

    samples = documents(tokens)
    runs = {n: packing_run(catalog().build("packer", {"use": n, "length": length}), samples) for n in names}
    runs[GRAIN] = grain_run(samples, length, weights=True)
    runs[f"{GRAIN}, ids alone"] = grain_run(samples, length, weights=False)
    records = measured(runs, samples, length, repeats)
    grain = next(record["seconds_median"] for record in records if record["packer"] == GRAIN)
    return [{**record, "times_grain": grain / record["seconds_median"]} for record in records]


def _balance(length: int, tokens: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of best-fit rows: over 8 data-parallel ranks, and over 4 sequence-parallel shards in each layout."""
    from lwm_core.bench.packing import balance, documents, rows_of, shard_balance

    rows = list(rows_of(catalog().build("packer", {"use": "best-fit", "length": length}), documents(tokens)))
    ranks = [{"length": length, **balance(rows, 8, each)} for each in (1, 2, 4, 8) if len(rows) >= 8 * each]
    layouts = {name: catalog().build("layout", name) for name in catalog().names("layout")}
    shards = [
        {"length": length, "shards": 4, "layout": name, "max_over_mean": shard_balance(rows, layout, 4)}
        for name, layout in layouts.items()
    ]
    return ranks, shards


def _print(result: dict[str, Any]) -> None:
    print_table(
        SPEED,
        [
            (r["length"], r["packer"], f"{r['tokens_per_second'] / 1e6:.1f}", f"{r['times_grain']:.2f}",
             r["rows"], f"{r['rows_over_bound']:.2%}")
            for r in result["records"]
        ],
    )  # fmt: skip
    print_table(
        BALANCE,
        [
            (b["length"], b["ranks"], b["rows_per_rank"], f"{b['before']:.3f}", f"{b['after']:.3f}")
            for b in result["balance"]
        ],
        "attention of a step (sum of squared lengths) over data-parallel ranks",
    )
    print_table(
        SHARDS,
        [(s["length"], s["shards"], s["layout"], f"{s['max_over_mean']:.3f}") for s in result["shards"]],
        "query-key pairs of a row over sequence-parallel shards",
    )
