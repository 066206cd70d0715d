"""Real processes over loopback: they train as one does, another number of them goes on, and none outlives another."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lwm_registry import compose, load


ROOT = Path(__file__).parents[2]
LWM = str(Path(sys.executable).with_name("lwm"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
STAGE = {
    "sequence_length": 32,
    "rope_theta": 1e4,
    "rows": 4,
    "steps": 3,
    "learning_rate": 3e-3,
    "mixture": {"book": 1.0},
}
SMALL = {"model.width": 32, "model.ffn": 48, "attention.use": "ring", "packer.buffer": 2, "checkpoint.use": "orbax"}


def stages(mesh, steps=3):
    return [{**STAGE, "name": name, "steps": steps, "mesh": mesh} for name in ("first", "second")]


def overrides(mesh, **more):
    return {**SMALL, "curriculum.stages": stages(mesh), **more}


def words(options):
    return [f"{key}={_toml(value)}" for key, value in options.items()]


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "StepFinished"]


def address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def started(count, *command, each=lambda index: []):
    at = address()
    place = [["--coordinator", at, "--processes", str(count), "--process", str(i), *each(i)] for i in range(count)]
    return [
        subprocess.Popen([LWM, *command, *mine], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) for mine in place
    ]


def ended(processes):
    """(exit code, what it said) of each."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_two_processes_train_as_one_and_one_goes_on(tmp_path):
    lone, two = tmp_path / "lone", tmp_path / "two"
    train = ["train", "tiny-text", "--out", str(two), *words(overrides([1, 1, 1, 2])), "--until", "first"]
    running = started(2, *train, "--cpu-devices", "1")
    compose("tiny-text", overrides([1, 1, 1, 1])).train(lone)
    for code, said in ended(running):
        assert code == 0, said
    assert len(losses(two)) == 3, "process 0 alone writes the log"
    load(two, {"curriculum.stages": stages([1, 2, 1, 2])}).resume(two)
    assert losses(two) == pytest.approx(losses(lone), abs=1e-5)


def test_what_differs_between_processes_is_said_before_the_first_step(tmp_path):
    command = ["train", "tiny-text", "--out", str(tmp_path / "run"), *words(overrides([1, 2, 1, 1]))]
    for code, said in ended(started(2, *command, each=lambda i: [f"seed={i}"])):
        assert code == 2
        assert re.search(r"Process 1 is not as process 0: .*recipe\.seed is 1, there 0", said), said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_four_processes_train_as_one(tmp_path):
    compose("tiny-text", overrides([1, 1, 1, 1])).train(tmp_path / "lone")
    command = ["train", "tiny-text", "--out", str(tmp_path / "four"), *words(overrides([2, 1, 1, 2]))]
    for code, said in ended(started(4, *command, "--cpu-devices", "1")):
        assert code == 0, said
    assert losses(tmp_path / "four") == pytest.approx(losses(tmp_path / "lone"), abs=1e-5)


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_is_named(tmp_path):
    run = tmp_path / "run"
    options = {**SMALL, "curriculum.stages": stages([1, 2, 1, 1], 100_000)}
    running = started(2, "train", "tiny-text", "--out", str(run), *words(options), "--cpu-devices", "1")
    until = time.monotonic() + 240
    while not (run / "metrics.jsonl").exists() or not losses(run):
        assert time.monotonic() < until and running[0].poll() is None
        time.sleep(0.2)
    running[1].send_signal(signal.SIGKILL)
    start = time.monotonic()
    code, said = ended(running)[0]
    assert code == 1
    assert "process 1 of 2 failed: its connection ended without a word: it was killed" in said
    assert time.monotonic() - start < 20


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Debian: apt-get install openmpi-bin")
def test_open_mpi_starts_two_processes(tmp_path):
    run = tmp_path / "run"
    environment = {**ENVIRONMENT, "LWM": LWM, "LWM_ARGUMENTS": "--cpu-devices 1"}
    environment["MPIRUN_FLAGS"] = "--allow-run-as-root --oversubscribe"
    command = [ROOT / "deploy" / "mpirun.sh", "2", "tiny-text", run, *words(overrides([1, 2, 1, 1]))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for index in range(2):
        assert f"lwm: process {index} of 2: Open MPI (2 processes)" in done.stderr
    assert len(losses(run)) == 6
