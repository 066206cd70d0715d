"""A plugin from outside: built as its own wheel, found, held to the kits, and trained, with no line of ours changed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


SOURCE = Path(__file__).parents[1] / "fixtures" / "lwm_example"
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """`outside(*words)` runs Python with the example distribution installed, in a process of its own."""
    folder = tmp_path_factory.mktemp("outside")
    built = subprocess.run([sys.executable, "-c", BUILD, folder], cwd=SOURCE, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(folder / built.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "site")

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "LWM_PLUGINS_STRICT": "0"}
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def lwm(*words):
    return ("-c", "from lwm_registry.cli import main; main()", *words)


def test_it_is_found_with_its_own_name_and_version(outside):
    kinds = ("kernel", "text_tokenizer")
    records = [r for kind in kinds for r in json.loads(outside(*lwm("plugins", kind, "--json", "--check")))]
    ours = {(r["kind"], r["name"]): r for r in records if r["plugin"] == "example"}
    assert set(ours) == {("kernel", "softmax"), ("text_tokenizer", "characters")}
    for record in ours.values():
        assert (record["distribution"], record["version"], record["state"]) == ("lwm-example", "0.3.0", "ok")


def test_it_passes_every_kit_by_its_name_alone(outside):
    out = outside("-m", "lwm_registry.conformance", "example", "-q")
    assert "6 passed" in out, out


def test_it_trains_by_name_and_its_hook_is_told(outside, tmp_path):
    run = tmp_path / "run"
    parts = ("tokenizer.use=characters", "tokenizer.highest=9000", "attention.use=local", "attention.kernel=softmax")
    small = ("model.layers=1", "model.remat=none")
    outside(*lwm("train", "tiny-text", "--out", run, "--until", "short", *parts, *small))
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["attention"]["kernel"]["use"] == "softmax" and recipe["tokenizer"]["use"] == "characters"
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in losses if line["event"] == "StepFinished"]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert (run / "example.txt").read_text() == "lwm_example heard of a run of 8 steps\n"
