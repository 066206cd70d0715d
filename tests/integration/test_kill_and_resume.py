"""Trained, killed without warning, resumed: the same bits as a run that nobody touched; then it writes.

Real processes and the real command line, as a user has them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


LWM = str(Path(sys.executable).with_name("lwm"))
OPTIONS = ("save_every=1", "curriculum.stages.0.steps=4")


def lwm(*words, check=True):
    done = subprocess.run([LWM, *map(str, words)], capture_output=True, text=True, timeout=300)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def bits(run: Path) -> dict[str, bytes]:
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in sorted(last.iterdir())}


def steps(run: Path) -> list[dict]:
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if '"StepFinished"' in line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(a run left alone, the same run killed after its fifth step, in its second stage, and resumed)."""
    folder = tmp_path_factory.mktemp("runs")
    alone, killed = folder / "alone", folder / "killed"
    lwm("train", "tiny-text", "--out", alone, "save_every=1")
    process = subprocess.Popen([LWM, "train", "tiny-text", "--out", killed, "save_every=1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(steps(killed)) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 5 <= len(steps(killed)) < 8, "the run was not killed on its way"
    lwm("resume", killed)
    return alone, killed


def test_the_final_state_is_the_same_bits(runs):
    first, second = map(bits, runs)
    assert first.keys() == second.keys() == {"manifest.json", "model.safetensors", "optimizer.safetensors"}
    for name in first:
        assert first[name] == second[name], f"{name} differs"


def test_every_step_was_the_same(runs):
    """The losses of the killed run, its repeated steps included, are those of the other one, step by step."""
    alone, killed = ({(s["step"], s["loss"]) for s in steps(run)} for run in runs)
    assert killed == alone


def test_the_resumed_run_writes(runs):
    _, killed = runs
    first, second = (lwm("sample", killed, "Once").stdout for _ in range(2))
    assert first == second and first.strip()


def test_training_into_a_run_is_refused_and_harms_nothing(runs):
    alone, _ = runs
    before = bits(alone)
    refused = lwm("train", "tiny-text", "--out", alone, check=False)
    assert refused.returncode == 2 and "already holds a run" in refused.stderr and "Traceback" not in refused.stderr
    assert bits(alone) == before
