"""A run killed with SIGKILL at random moments, among them inside saves, beside one that nobody touched:

    python benchmarks/kills.py                       # both formats, 50 kills each: writes results/kills.json
    python benchmarks/kills.py --kills 5 --format orbax --out none

Owns the moments, the checks and the record. Each attempt is a process that composes the recipe and trains or resumes
as `lwm train` and `lwm resume` do, forked from one that has imported JAX and touched no device, to save its start.
After each kill the newest checkpoint is read whole, and the next attempt has to begin at the step after it. In the
end every array and the whole manifest are compared, bit for bit.
"""

import argparse
import datetime
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lwm_registry import compose, load
from lwm_registry.demo.facts import machine


_PATIENCE = 600.0  # seconds for one attempt


def main() -> None:
    """Runs the proof, prints its figures and fails when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--format", choices=("safetensors", "orbax"), action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="benchmarks/results/kills.json", help="the record's file, or none")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    figures = {}
    for name in given.format or ("safetensors", "orbax"):
        with tempfile.TemporaryDirectory() as folder:
            # Compiling once is enough, and compiled programs come back from the cache the same.
            jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            steps = given.kills + 10, 2 * given.kills  # of two stages: more than so many kills get through
            figures[name] = proof(_recipe(name, steps), Path(folder), given.kills, random.Random(given.seed))
        print(name, json.dumps(figures[name]), flush=True)
    if given.out != "none":
        record = {
            "command": f"python benchmarks/kills.py --kills {given.kills} --seed {given.seed}",
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "formats": figures,
        }
        Path(given.out).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    sys.exit(0 if all(figure["bit_identical"] for figure in figures.values()) else 1)


def proof(recipe: dict[str, Any], folder: Path, kills: int, moments: random.Random) -> dict[str, Any]:
    """What happened to a run that was killed so often, as plain figures."""
    format = compose(recipe).checkpoint  # imports, before the first fork, all that a run needs
    alone, killed = folder / "alone", folder / "killed"
    _ended(_attempt(recipe, alone))
    inside, resumed = 0, []
    for number in range(kills):
        before, heard, left = _newest(format, killed), len(_events(killed)), _drafts(killed)
        child = _attempt(recipe, killed)
        _wait(child, killed, before, moments, left if number % 2 else None)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(
                f"Kill {number}: the run ended by itself with status {status}: give its stages more steps."
            )
        inside += bool(_drafts(killed) - left)
        _check_begun(killed, heard, before, number)
        resumed.append(_newest(format, killed))
    if resumed != sorted(resumed):
        raise SystemExit(f"A kill lost a checkpoint: the newest ones were {resumed}.")
    _ended(_attempt(recipe, killed))
    identical = _state(alone) == _state(killed)
    return {"kills": kills, "inside_a_save": inside, "newest_step_after_each": resumed, "bit_identical": identical}


def _recipe(name: str, lengths: tuple[int, ...]) -> dict[str, Any]:
    stage = {"sequence_length": 32, "rows": 2, "learning_rate": 1e-3, "mixture": {"words": 1.0}, "rope_theta": 1e4}
    documents = [{"spans": [{"modality": "text", "content": f"{n} bottles on the wall " * 3}]} for n in range(40)]
    return {
        "tokenizer": "bytes",
        "model": {"use": "llama", "width": 32, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 64, "remat": "none"},
        "attention": "dense",
        "packer": "best-fit",
        "objective": "cross-entropy",
        "checkpoint": {"use": name, "keep": 3},
        "save_every": 1,
        "sources": {"words": {"use": "documents", "documents": documents}},
        "curriculum": {
            "use": "staged",
            "stages": [{"name": f"s{n}", "steps": steps, **stage} for n, steps in enumerate(lengths)],
        },
        "observers": {"log": {"use": "jsonl"}},
    }


def _attempt(recipe: dict[str, Any], out: Path) -> int:
    """A process that trains into `out`, or goes on there, as the command line does."""
    child = os.fork()
    if child:
        return child
    try:
        if (out / "recipe.json").exists() and list((out / "checkpoints").glob("step-*")):
            load(out).resume(out)
        else:
            compose(recipe).train(out)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def _ended(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"A run that nobody killed ended with status {status}.")


def _wait(child: int, out: Path, before: int, moments: random.Random, left: set[Any] | None) -> None:
    """Until a random moment: some steps on, or before the first; in a save that leaves more than `left`."""
    steps = moments.choice((0, 0, 1, 1, 1, 2))
    end = time.monotonic() + _PATIENCE
    while steps and _last_step(out) < before + steps and time.monotonic() < end and _alive(child):
        time.sleep(0.002)
    time.sleep(moments.uniform(0, 0.05 if steps else 1.0))
    while left is not None and not _drafts(out) - left and time.monotonic() < end and _alive(child):
        pass
    if left is not None:
        time.sleep(moments.uniform(0, 0.01))


def _alive(child: int) -> bool:
    """Whether a process has not ended; leaves it to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _drafts(out: Path) -> set[Any]:
    """The checkpoints being written, or left half written."""
    found = set()
    for draft in (out / "checkpoints").glob(".writing-*"):
        try:
            found.add((draft.name, draft.stat().st_ino))
        except FileNotFoundError:  # became a checkpoint meanwhile
            continue
    return found


def _events(out: Path) -> list[dict[str, Any]]:
    file = out / "metrics.jsonl"
    lines = file.read_text("utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def _last_step(out: Path) -> int:
    return max((event["step"] for event in _events(out) if event["event"] == "StepFinished"), default=0)


def _check_begun(out: Path, heard: int, before: int, number: int) -> None:
    """The attempt that was just killed had begun at the step after the newest checkpoint of its time."""
    steps = [event["step"] for event in _events(out)[heard:] if event["event"] == "StepFinished"]
    if steps and steps[0] != before + 1:
        raise SystemExit(f"Kill {number}: the run went on at step {steps[0]}, and its checkpoint was of {before}.")


def _newest(format: Any, out: Path) -> int:
    """The step of the newest checkpoint, whose hashes are checked; 0 when there is none."""
    from lwm_core.checkpoint.sums import check_sums

    path = format.latest(out / "checkpoints")
    if path is None:
        return 0
    check_sums(path, [entry.name for entry in path.iterdir() if entry.name != "SHA256SUMS"])
    return format.manifest(path).step


def _state(out: Path) -> list[Any]:
    """The bits of the newest checkpoint's arrays, and its manifest; read in a process of their own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(_bits(out), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _ended(child)
    return json.loads(text)


def _bits(out: Path) -> list[Any]:
    import dataclasses
    import hashlib

    import equinox as eqx

    from lwm_core.train.step import init_state

    pipeline = load(out)
    format, path = pipeline.checkpoint, pipeline.checkpoint.latest(out / "checkpoints")
    model = pipeline.model
    state = init_state(model, pipeline.optimizer.build(pipeline.stages[-1]))
    trees = {"model": eqx.filter(model, eqx.is_array), "optimizer": format.restore(path, "optimizer", state.moments)}
    digests = [hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for leaf in jax.tree.leaves(trees)]
    return [digests, dataclasses.asdict(format.manifest(path))]


if __name__ == "__main__":
    main()
