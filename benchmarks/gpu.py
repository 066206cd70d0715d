"""Every figure of the Hopper kernel on one H100 or H200, in one call of under ten minutes and without a network:

    python benchmarks/gpu.py                  # writes benchmarks/results/gpu-attention.json
    python benchmarks/gpu.py --dry-run        # the same end to end on a CPU: tiny, with the blockwise kernel

Owns the figures, their targets and their record. Each figure runs in a process of its own, and each contender that
crashes or hangs it is recorded and left out of the next try. How one process measures is `gpu_measure`'s.
"""

import argparse
import datetime
import importlib.metadata
import json
import multiprocessing
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lwm_core.bench import Case


# Seconds without a word after which a process counts as hung: compiling and the slowest single call are shorter.
_SILENCE = 100
_PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda13-plugin",
    "jax-cuda12-plugin",
    "tokamax",
    "nvidia-cudnn-cu13",
    "equinox",
    "numpy",
)
_OURS, _CUDNN, _TOKAMAX = "pallas-gpu", "cudnn-direct", "tokamax-direct"


@dataclass(frozen=True)
class Target:
    """Our speed over the fastest of these contenders, on one pass, and what it should be at least."""

    contender: str
    over: tuple[str, ...]
    direction: str
    least: float


@dataclass(frozen=True)
class Figure:
    """One case, who is measured on it, in which passes, and what is hoped for.

    Contenders: "pallas-gpu", "pallas-gpu KEY=VALUE ..." with options of the kernel, "ring-N" for N chunks of keys on
    one device, and the names of `lwm_core.bench.peers`.
    """

    case: Case
    contenders: tuple[str, ...] = (_OURS, _CUDNN, _TOKAMAX)
    passes: tuple[str, ...] = ("forward", "backward", "forward+backward")
    targets: tuple[Target, ...] = ()
    rounds: int = 7


def _bf16(name: str, summary: str, **fields: Any) -> Case:
    return Case(name, summary, dtype="bfloat16", **{"heads": 16, "kv_heads": 16, "head_dim": 128, **fields})


def _over_tokamax(direction: str, least: float) -> Target:
    return Target(_OURS, (_TOKAMAX,), direction, least)


def _documents(name: str, count: int, length: int) -> Figure:
    case = _bf16(name, f"{count} equal packed documents in {length} tokens", length=length, documents=(1,) * count)
    return Figure(case, targets=(_over_tokamax("forward+backward", 4.0),), rounds=5)


def _ring(length: int, chunks: tuple[int, ...]) -> Figure:
    names = tuple(f"ring-{n}" for n in chunks)
    targets = tuple(Target(name, (_OURS,), way, 0.93) for name in names for way in ("forward", "forward+backward"))
    case = _bf16("ring", "one call against its keys in chunks, the softmax carried", length=length)
    return Figure(case, (_OURS, *names), ("forward", "forward+backward"), targets, 5)


def _sweep(name: str, head_dim: int, heads: int, options: dict[str, tuple[tuple[int, int], ...]]) -> Iterator[Figure]:
    for part, tiles in options.items():
        names = tuple(f"{_OURS} {part}_block={block} {part}_stages={stages}" for block, stages in tiles)
        case = _bf16(f"{name}-{part}", "block sizes", length=16384, heads=heads, kv_heads=heads, head_dim=head_dim)
        yield Figure(case, names, ("forward",) if part == "forward" else ("backward",), rounds=5)


FIGURES = (
    Figure(
        _bf16("causal-d128", "one document of 16384 tokens, heads of 128", length=16384),
        targets=(Target(_OURS, (_CUDNN, _TOKAMAX), "forward", 0.97), _over_tokamax("backward", 1.15)),
    ),
    Figure(
        _bf16("causal-d256", "the same, heads of 256", length=16384, heads=8, kv_heads=8, head_dim=256),
        targets=(_over_tokamax("backward", 2.0),),
    ),
    _documents("documents-16-32k", 16, 32768),
    _documents("documents-12-64k", 12, 65536),
    _documents("documents-12-128k", 12, 131072),
    Figure(
        _bf16("window-4k-64k", "a window of 4096 in 65536 tokens", length=65536, window=16),
        targets=(_over_tokamax("backward", 5.0),),
        rounds=5,
    ),
    _ring(32768, (4, 8, 16)),
    Figure(
        _bf16("million", "one document of 1048576 tokens, 8 query heads over 2", length=1 << 20, heads=8, kv_heads=2),
        (_OURS,),
        ("forward+backward",),
        rounds=1,
    ),
    Figure(_bf16("grouped", "4 query heads per key head", length=8192, batch=4, heads=32, kv_heads=8), rounds=5),
    Figure(_bf16("causal-d64", "heads of 64", length=16384, heads=32, kv_heads=32, head_dim=64), rounds=5),
    *_sweep(
        "sweep-d128",
        128,
        16,
        {
            "forward": ((128, 2), (64, 2), (64, 3), (64, 4), (192, 1)),
            "query": ((64, 3), (64, 2), (128, 1), (128, 2)),
            "key": ((64, 2), (64, 3), (64, 4)),
        },
    ),
    *_sweep("sweep-d256", 256, 8, {"forward": ((64, 2), (128, 1), (64, 1)), "query": ((64, 2), (64, 1))}),
    *_sweep("sweep-d64", 64, 32, {"forward": ((128, 3), (128, 4), (256, 2)), "key": ((128, 2), (64, 3), (64, 2))}),
)  # fmt: skip


def tiny(figure: Figure) -> Figure:
    """The same figure small enough for a CPU."""
    case = replace(
        figure.case, length=192, heads=4, kv_heads=4 * figure.case.kv_heads // figure.case.heads, head_dim=64
    )
    return replace(figure, case=case, rounds=2)


def ratios(figure: Figure, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each target with what was reached; None where somebody needed for it failed."""
    times = {(r["contender"], r["direction"]): r["seconds_median"] for r in records if "seconds_median" in r}
    found = []
    for target in figure.targets:
        ours = times.get((target.contender, target.direction))
        theirs = [t for name in target.over if (t := times.get((name, target.direction))) is not None]
        reached = min(theirs) / ours if ours and theirs else None
        met = None if reached is None else reached >= target.least
        found.append({**asdict(target), "reached": reached, "met": met})
    return found


def run_figure(figure: Figure, dry: bool, silence: float = _SILENCE) -> list[dict[str, Any]]:
    """Its records. Whoever ends the process is recorded, and the others are measured again without it: times are only
    worth something when everybody took turns."""
    left, failures = list(figure.contenders), []
    while left:
        found, culprit, why = _apart("measure", (replace(figure, contenders=tuple(left)), dry), silence)
        if culprit is None:
            return failures + found
        failures.append({"contender": culprit, "failed": why})
        if culprit not in left:
            break
        left.remove(culprit)
    return failures


def _apart(what: str, arguments: tuple, silence: float) -> tuple[list[dict[str, Any]], str | None, str]:
    """(records, whom the process was busy with when it ended or fell silent, why)."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, what, arguments))
    child.start()
    sender.close()
    records: list[dict[str, Any]] = []
    busy: str | None = "all"
    why = ""
    try:
        while receiver.poll(silence):
            kind, value = receiver.recv()
            if kind == "busy":
                busy = value
            elif kind == "done":
                busy = None
                break
            else:
                records.append(value)
        else:
            why = f"silent for {silence:g} s"
    except EOFError:
        child.join(5)
        why = f"its process ended with exit code {child.exitcode}"
    if child.is_alive() and busy is not None:
        child.kill()
    child.join()
    return records, busy, why


def _child(sender, what: str, arguments: tuple) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    import gpu_measure

    def tell(kind: str, value: Any = None) -> None:
        sender.send((kind, value))

    getattr(gpu_measure, what)(tell, *arguments)
    tell("done")


def facts(dry: bool) -> dict[str, Any]:
    """Card, driver, versions and date."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": "python benchmarks/gpu.py" + " --dry-run" * dry,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "card": _card(),
        "kernel": "blockwise, in a dry run" if dry else "pallas-gpu",
        "python": platform.python_version(),
        "versions": versions,
    }


def _card() -> str:
    query = "--query-gpu=name,driver_version,clocks.max.sm,power.limit"
    try:
        answer = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return "no NVIDIA GPU"
    return answer.stdout.strip() or "no NVIDIA GPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="benchmarks/results/gpu-attention.json; nothing in a dry run")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on a CPU, with the blockwise kernel")
    parser.add_argument("--budget", type=float, default=540, help="seconds after which no further figure is begun")
    parser.add_argument("--only", nargs="*", help="names of figures, or 'checks'; all by default")
    options = parser.parse_args()
    names = ["checks", *(figure.case.name for figure in FIGURES)]
    if unknown := set(options.only or ()) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; write any of {', '.join(names)}")
    begun, dry = time.monotonic(), options.dry_run
    out = options.out or (None if dry else Path(__file__).parent / "results" / "gpu-attention.json")
    result: dict[str, Any] = {"run": facts(dry), "checks": [], "figures": []}

    def keep() -> None:
        result["run"]["seconds"] = round(time.monotonic() - begun, 1)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")

    if not options.only or "checks" in options.only:
        found, culprit, why = _apart("check", (dry,), _SILENCE)
        result["checks"] = found + ([] if culprit is None else [{"check": culprit, "failed": why}])
        print(*result["checks"], sep="\n", flush=True)
        keep()
    for figure in FIGURES:
        name = figure.case.name
        if options.only and name not in options.only:
            continue
        if time.monotonic() - begun > options.budget:
            result["figures"].append({"name": name, "skipped": f"the budget of {options.budget:g} s was spent"})
            continue
        figure = tiny(figure) if dry else figure
        records = run_figure(figure, dry)
        entry = {"name": name, "case": asdict(figure.case), "records": records, "targets": ratios(figure, records)}
        result["figures"].append(entry)
        print(name, *records, *entry["targets"], sep="\n  ", flush=True)
        keep()
    keep()


if __name__ == "__main__":
    main()
