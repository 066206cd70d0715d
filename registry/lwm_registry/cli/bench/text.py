"""`lwm bench text`: the text path of training against `tokenizers` alone, on the same documents and threads.

Owns the choice of documents and packers and how results are shown and kept; measuring is `lwm_core.bench`'s.
"""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table


BOOK = Path(__file__).parents[4] / "assets" / "book"
CASES = {"chapters": "best-fit", "paragraphs": "sequential"}
COLUMNS = ("documents", "tokens each", "packer", "what", "tok/s", "path's share", "by core time")


def text(
    file: Annotated[Path, typer.Option("--file", help="UTF-8 text.")] = BOOK / "moby-dick.txt",
    tokenizer: Annotated[Path, typer.Option("--tokenizer", help="A tokenizer.json.")] = BOOK / "bpe-2048.json",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Of one measurement, about.")] = 4_000_000,
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens in a row; 8 rows in a step.")] = 4096,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds; medians are reported.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Measure reading, tokenising, rendering, packing and batching together, in turns with tokenizers alone.

    The peer is given all documents at once and only encodes them, by `encode_batch` and by `encode_batch_fast`, which
    leaves out character offsets. Threads are the library's own (RAYON_NUM_THREADS).

    Example: lwm bench text --json --out benchmarks/results
    """
    from lwm_core.bench.report import facts
    from lwm_core.bench.text_path import TextCase, race

    ours = catalog().build("text_tokenizer", {"use": "bpe", "path": tokenizer})
    peers = _peers(tokenizer)
    records = []
    for split, packer in CASES.items():
        source = catalog().build("source", {"use": "text", "paths": [str(file)], "split": split})
        made = catalog().build("packer", {"use": packer, "length": length})
        records.append(race(TextCase(split, source, ours, made, tokens), peers, repeats))
        print(f"{split}: done", file=sys.stderr, flush=True)
    result = {"run": facts(shlex.join(["lwm", *sys.argv[1:]]), [], ("grain", "tokenizers")), "records": records}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "text.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if as_json:
        print_json(result)
        return
    print_table(COLUMNS, [cells for record in records for cells in _cells(record)])


def _peers(path: Path) -> dict[str, Callable[[Sequence[str]], Any]]:
    from tokenizers import Tokenizer

    alone = Tokenizer.from_file(str(path))
    return {
        "encode_batch": lambda texts: alone.encode_batch(texts, add_special_tokens=False),
        "encode_batch_fast": lambda texts: alone.encode_batch_fast(texts, add_special_tokens=False),
    }


def _cells(record: dict[str, Any]) -> list[tuple[str, ...]]:
    start = (record["case"], f"{record['tokens_per_document']:.0f}", record["packer"].partition("(")[0])
    speeds, shares, core = (record[key] for key in ("tokens_per_second", "share_of_peer", "share_by_core_time"))
    return [
        ("", "", "", name, f"{speed:,.0f}", *(f"{s[name]:.2f}" for s in (shares, core)))
        if name in shares
        else (*start, name, f"{speed:,.0f}", "", "")
        for name, speed in speeds.items()
    ]
