"""Trained, killed without warning or told to stop, resumed: the same bits as a run that nobody touched; then it writes.

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
FILES = ("SHA256SUMS", "manifest.json", "model.safetensors", "optimizer.safetensors")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """One cache of compiled programs for all processes of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


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


def signalled(run: Path, after: int, number: int) -> subprocess.CompletedProcess:
    """A run that gets a signal after so many steps."""
    command = [LWM, "train", "tiny-text", "--out", run, "save_every=1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(steps(run)) < after and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, said = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stderr=said)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(a run left alone, the same run killed after its fifth step, in its second stage, and resumed)."""
    folder = tmp_path_factory.mktemp("runs")
    alone, killed = folder / "alone", folder / "killed"
    lwm("train", "tiny-text", "--out", alone, "save_every=1")
    signalled(killed, 5, signal.SIGKILL)
    assert 5 <= len(steps(killed)) < 8, "the run was not killed on its way"
    lwm("resume", killed)
    return alone, killed


def test_the_final_state_is_the_same_bits(runs):
    first, second = map(bits, runs)
    assert first.keys() == second.keys() == set(FILES)
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


def test_a_run_that_is_told_to_stop_saves_first(runs):
    alone, _ = runs
    told = alone.with_name("told")
    done = signalled(told, 2, signal.SIGTERM)
    assert done.returncode == 143, done.stderr
    assert f"`lwm resume {told}` goes on from there" in done.stderr and "Traceback" not in done.stderr
    last = steps(told)[-1]["step"]
    assert sorted((told / "checkpoints").iterdir())[-1].name == f"step-{last:08d}" and last < 8
    lwm("resume", told)
    assert bits(told) == bits(alone)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["safetensors", "orbax"])
def test_fifty_kills(format):
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    command = [sys.executable, script, "--kills", "50", "--format", format, "--out", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.partition(" ")[2])
    assert figures["bit_identical"] and figures["inside_a_save"] >= 10
