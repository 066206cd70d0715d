"""What the paper's longest stages take on TPUs that are not here, by the TPU's own compiler: `lwm plan`, case by case.

    python benchmarks/plans.py             # writes benchmarks/results/plans.json and plans.md; half an hour
    python benchmarks/plans.py --only serve

Owns the cases and their record. Each runs as the command of its own that stands beside it; a case that is on record
for this version of the compiler is not run again unless it is named with --only.
"""

import argparse
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path


RESULTS = Path(__file__).parent / "results"
GIB = 2**30

# What is asked for, and how many chips the paper had.
CASES: dict[str, tuple[str, int | None]] = {
    "text-1m, as published": ("lwm-text-1m --topology v4:4x8x8", 256),
    "text-1m, fitted, v4": ("lwm-text-1m --fit --topology v4", 256),
    "text-1m, fitted, v5p": ("lwm-text-1m --fit --topology v5p", None),
    "text-1m, fitted, v5e": ("lwm-text-1m --fit --topology v5e", None),
    "text-1m, fitted, v6e": ("lwm-text-1m --fit --topology v6e", None),
    "text-1m, 32 chips, nothing on the host": (
        "lwm-text-1m --topology v4:2x4x4 --mesh 1,1,1,32 optimizer.accumulate=4 objective.chunk=2048",
        256,
    ),
    "chat-1m, as published": ("lwm-chat-1m --topology v4:8x8x8", 512),
    "chat-1m, fitted, v4": ("lwm-chat-1m --fit --topology v4", 512),
    "chat-1m, fitted, v5p": ("lwm-chat-1m --fit --topology v5p", None),
    "chat-1m, fitted, v5e": ("lwm-chat-1m --fit --topology v5e", None),
    "chat-1m, fitted, v6e": ("lwm-chat-1m --fit --topology v6e", None),
    "serve 1M, int8": ("lwm-text-1m --fit --topology v4 --serve 1048576 --cache int8", 128),
    "serve 1M, int8, prefill of 512": ("lwm-text-1m --topology v4:16 --serve 1048576 --cache int8 --tokens 512", 128),
    **{
        f"length {length // 1024}K, v4:64": (
            f"lwm-text-1m --topology v4:4x4x4 --mesh 1,1,1,64 curriculum.use=staged objective.chunk=2048 "
            f"curriculum.stages=[{{name='{length // 1024}k',sequence_length={length},rope_theta=5e7,rows=1,steps=1,"
            f"learning_rate=4e-5}}]",
            None,
        )
        for length in (2**15, 2**17, 2**19, 2**20, 2**21, 2**22)
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Plans of the paper's longest stages.")
    parser.add_argument("--only", help="the cases whose name holds this, again even if they are on record")
    asked = parser.parse_args()
    path = RESULTS / "plans.json"
    record = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    compiler = f"libtpu {importlib.metadata.version('libtpu')}, jax {importlib.metadata.version('jax')}"
    for name, (command, published) in CASES.items():
        known = record["cases"].get(name, {})
        if asked.only not in name if asked.only else known.get("compiler") == compiler:
            continue
        print(f"{name}: lwm plan {command}", flush=True)
        done = subprocess.run(["lwm", "plan", *command.split(), "--json"], capture_output=True, text=True)
        print(done.stderr, file=sys.stderr, end="")
        if done.returncode not in (0, 1) or not done.stdout:
            sys.exit(f"{name} failed: {done.stderr[-2000:]}")
        plan = json.loads(done.stdout)
        case = {"command": f"lwm plan {command}", "published_chips": published, "compiler": compiler, "plan": plan}
        record["cases"][name] = case
        record |= {"date": datetime.date.today().isoformat(), "machine": f"{platform.machine()}, no TPU"}
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        (RESULTS / "plans.md").write_text(table(record))


def table(record: dict) -> str:
    """The record for people."""
    columns = ("case", "slice", "chips", "of the paper's", "mesh dp, fsdp, tp, sp", "peak, GiB a chip", "of",
               "on the host, GiB", "hops under compute", "estimate, s")  # fmt: skip
    head = f"| {' | '.join(columns)} |"
    lines = [head, "|" + "---|" * len(columns)]
    for name, case in record["cases"].items():
        plan = case["plan"]
        if "chips" not in plan:
            lines.append(f"| {name} | nothing fits | | | | | | | | |")
            continue
        share = f"1/{case['published_chips'] / plan['chips']:g}" if case["published_chips"] else ""
        peak = plan["peak_bytes_per_chip"] / GIB if plan["peak_bytes_per_chip"] else float("nan")
        host = plan["bytes_by_kind"].get("host", 0) / GIB
        hops = f"{plan['hops']['under_compute']} / {plan['hops']['all']}" if plan["hops"].get("all") else ""
        seconds = f"{plan['estimate']['low']:.3g} - {plan['estimate']['high']:.3g}" if plan["estimate"] else ""
        mesh = ", ".join(str(size) for size in plan["mesh"].values())
        verdict = "" if plan["fits"] else " (does not fit)"
        lines.append(
            f"| {name}{verdict} | {plan['topology']} | {plan['chips']} | {share} | {mesh} | {peak:.2f} | "
            f"{plan['limit_bytes_per_chip'] / GIB:.2f} | {host:.2f} | {hops} | {seconds} |"
        )
    commands = "\n".join(f"- {name}: `{case['command']}`" for name, case in record["cases"].items())
    return (
        f"# Plans by the TPU's compiler ({record['date']}, no TPU)\n\n" + "\n".join(lines)
        + "\n\nSeconds are estimates from peaks and counted work, not measurements. Commands, as `python "
        f"benchmarks/plans.py` runs them:\n\n{commands}\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
