"""`lwm bench training`: a training step beside Hugging Face transformers'.

Owns the options and how results are shown and kept; the race is `lwm_core.bench.training`'s.
"""

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table
from lwm_registry.errors import RegistryError


PEER = ("torch", "transformers")


def training(
    width: Annotated[int, typer.Option("--width", min=16, help="Of the model.")] = 512,
    layers: Annotated[int, typer.Option("--layers", min=1)] = 6,
    heads: Annotated[int, typer.Option("--heads", min=1)] = 8,
    kv_heads: Annotated[int | None, typer.Option("--kv-heads", min=1, help="As many as heads by default.")] = None,
    ffn: Annotated[int, typer.Option("--ffn", min=1, help="Columns of the feed-forward.")] = 1376,
    vocab: Annotated[int, typer.Option("--vocab", min=2, help="Ids.")] = 8192,
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens of a row.")] = 2048,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of a step.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Steps of each, in turn.")] = 7,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Train a Llama for some steps on one device, in turn with transformers and PyTorch's SDPA; losses are compared.

    Example: lwm bench training --length 4096 --rounds 5
    """
    missing = [name for name in PEER if importlib.util.find_spec(name) is None]
    if missing:
        raise RegistryError(f"The peer needs {' and '.join(missing)}: pip install torch transformers.")
    from lwm_core.bench.report import facts
    from lwm_core.bench.training import TrainingCase, race

    case = TrainingCase(width, layers, heads, kv_heads or heads, ffn, vocab, length, rows)
    sizes = {"width": width, "layers": layers, "heads": heads, "kv_heads": case.kv_heads, "ffn": ffn}
    family = catalog().build("model", {"use": "llama", **sizes, "vocab_size": vocab, "remat": "none"})
    record = race(case, family, rounds, lambda line: print(f"lwm: {line}", file=sys.stderr, flush=True))
    result = {"run": facts(shlex.join(["lwm", *sys.argv[1:]]), [], PEER), "record": record}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "training.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if as_json:
        print_json(result)
        return
    speeds = record["tokens_per_second"]
    rows_ = [(name, f"{speed:,.0f}", f"{speed / speeds['transformers']:.2f}") for name, speed in speeds.items()]
    print_table(("", "tokens/s", "of transformers"), rows_)
