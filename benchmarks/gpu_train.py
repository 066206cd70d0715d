"""The longest full training step of a 7B on one GPU, with and without the host's memory, and how well it is used:

    python benchmarks/gpu_train.py            # one call of under ten minutes; writes benchmarks/results/gpu-train.json
    python benchmarks/gpu_train.py --dry-run  # the same end to end on a CPU: tiny

Owns the search and its record. A step is the whole one: float32 weights and moments, products in bfloat16, a batch of
one row of one document, forward, backward, clipping, AdamW. Each length runs in a process of its own, so that one that
runs out of memory is a line in the record and not the end. Where moments do not fit beside 7B weights, the size steps
down and the record says so. The published mark is 500K tokens at 8B on 80 GB (`reference` in the record).
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path


RESULTS = Path(__file__).parent / "results"
REFERENCE = "published: 500K tokens at 8B on one 80 GB H100"
SIZES = ("7b", "3b", "1b")
BUDGET = 540  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The longest training step on one GPU.")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on a CPU")
    parser.add_argument("--step", nargs=3, metavar=("SIZE", "REMAT", "LENGTH"), help="one measurement, printed as JSON")
    asked = parser.parse_args()
    if asked.step:
        size, remat, length = asked.step
        print(json.dumps(measured(size, remat, int(length), asked.dry_run)))
        return
    began, tried = time.monotonic(), []
    sizes, lengths = (("debug",), (256, 512)) if asked.dry_run else (SIZES, tuple(2**n for n in range(15, 22)))
    size = next((s for s in sizes if _tried(tried, s, "attention", lengths[0], asked.dry_run, began)), None)
    for remat in ("attention", "offload"):
        for length in lengths:
            if size is None or not _tried(tried, size, remat, length, asked.dry_run, began):
                break
    record = {
        "command": "python benchmarks/gpu_train.py",
        "date": datetime.date.today().isoformat(),
        "reference": REFERENCE,
        "tried": tried,
        "longest": {
            remat: max((t["length"] for t in tried if t["remat"] == remat and "seconds" in t), default=None)
            for remat in ("attention", "offload")
        },
    }
    RESULTS.mkdir(exist_ok=True)
    name = "gpu-train-dry-run.json" if asked.dry_run else "gpu-train.json"
    (RESULTS / name).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["longest"]))


def _tried(tried: list, size: str, remat: str, length: int, dry: bool, began: float) -> bool:
    """Whether this step ran, in a process of its own; what it did is added to the record."""
    known = [t for t in tried if (t["size"], t["remat"], t["length"]) == (size, remat, length)]
    if known:
        return "seconds" in known[0]
    entry = {"size": size, "remat": remat, "length": length}
    left = BUDGET - (time.monotonic() - began)
    command = [sys.executable, __file__, "--step", size, remat, str(length), *(["--dry-run"] if dry else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(left, 1))
        entry |= json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr.strip()[-600:]}
    except subprocess.TimeoutExpired:
        entry |= {"failed": f"no time was left: {BUDGET} s are for all lengths"}
    tried.append(entry)
    print(entry, flush=True)
    return "seconds" in entry


def measured(size: str, remat: str, length: int, dry: bool) -> dict:
    """Seconds of a step (the second; the first compiles), its operations by definition, and utilisation."""
    import jax
    import jax.numpy as jnp

    from lwm_core.attention import TokenCoords
    from lwm_core.curriculum import Stage
    from lwm_core.mesh import MeshSpec, made
    from lwm_core.mesh.chips import peak_flops
    from lwm_core.model.flops import training_flops
    from lwm_core.objective import Batch, CrossEntropy
    from lwm_core.train.optimizer import AdamW
    from lwm_core.train.step import init_state, make_step
    from lwm_core.vocab import Modality, Vocabulary
    from lwm_registry import catalog

    kernel = "blockwise" if dry else "pallas-gpu"
    family = catalog().build(
        "model",
        {"use": "llama", "size": size, "dtype": "bfloat16", "remat": remat, "ffn_chunk": 4096,
         "attention": {"use": "local", "kernel": {"use": kernel}}},
    )  # fmt: skip
    optimizer = AdamW().build(Stage("gpu", length, 5e7, 1, 100, 4e-5))
    device = jax.devices()[0]
    with jax.set_mesh(MeshSpec().make([device])):
        state = made(lambda key: init_state(family.init(key=key), optimizer), jax.random.key(0))
        ids = jax.random.randint(jax.random.key(1), (1, length), 0, family.vocab_size)
        batch = Batch(ids, TokenCoords.of_rows(1, length), jnp.roll(ids, -1, axis=1), jnp.ones((1, length)))
        step = make_step(CrossEntropy(chunk=2048), optimizer, Vocabulary((Modality("text", family.vocab_size, {}),)))
        state, metrics = step(state, batch)
        loss = float(metrics["loss"])
        start = time.monotonic()
        state, metrics = step(state, batch)
        loss = float(metrics["loss"])
        seconds = time.monotonic() - start
    flops = training_flops(state.model, length, length * (length + 1) // 2)
    peak = peak_flops([device])
    stats = device.memory_stats() or {}
    return {
        "device": device.device_kind, "seconds": seconds, "loss": loss, "flops": flops,
        "flops_per_second": flops / seconds, "utilisation": flops / seconds / peak if peak else None,
        "peak_bytes": stats.get("peak_bytes_in_use"),
    }  # fmt: skip


if __name__ == "__main__":
    main()
