"""The real package, offline: what its run's file holds, that a resumed run goes on in it, and asks no network."""

import json
import socket

import pytest

from lwm_core.curriculum import Stage
from lwm_core.evaluate.base import Evaluation
from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
)
from lwm_trackers.wandb import WandbObserver


pytest.importorskip("wandb")
BLOCK, HEAD = 32_768, 7


def records(path):
    """The records of a `.wandb` file: a log in LevelDB's format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, held = path.read_bytes(), HEAD, b""
    assert data[:4] == b":W&B"
    while place < len(data):
        if (left := BLOCK - place % BLOCK) < HEAD:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        held += data[place + HEAD : place + HEAD + size]
        place += HEAD + size
        if kind in (1, 4):
            yield Record.FromString(held)
            held = b""


def history(path):
    """What was logged, by step."""
    found = {}
    for record in records(path):
        if record.HasField("history"):
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            found.setdefault(items["_step"], []).append(items)
    return found


def step(number):
    return StepFinished(number, "first", number, 0.5, 8, {"loss": float(number), "loss/vision": float("nan")})


STAGE = StageStarted(Stage("first", 8, 1e4, 1, 4, 1e-3), 0, "dense")


def tell(observer, *events):
    for event in events:
        observer.notify(event)


@pytest.fixture
def server():
    """Where the package would connect to, if it did."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.01)
        yield listening


def test_an_offline_run_goes_on_where_it_was_and_asks_no_network(tmp_path, monkeypatch, server):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    out = tmp_path / "a-run"
    recipe = {"seed": 3, "model": {"use": "llama"}}
    measured = Evaluated(2, "first", "text", Evaluation("text", (), {"loss": 1.5}))
    failed = RunFailed(KeyboardInterrupt(), 3)
    saved = CheckpointSaved(out / "step-2", 2)
    first = (RunStarted(out, 4, 0, recipe), STAGE, step(1), step(2), measured, saved, step(3), failed)
    tell(WandbObserver("offline", project="p"), *first)
    resumed = (RunStarted(out, 4, 2, recipe), STAGE, step(3), step(4), RunFinished(out, 4))
    tell(WandbObserver("offline", project="p"), *resumed)
    with pytest.raises(TimeoutError):
        server.accept()
    files = sorted(out.glob("wandb/offline-run-*/run-*.wandb"))
    logged = [history(path) for path in files]
    assert sorted(number for one in logged for number in one) == [1, 2, 3, 4], "each step once"
    assert {path.stem for path in files} == {f"run-{json.loads((out / 'wandb.json').read_text())['id']}"}
    (second,) = next(one[2] for one in logged if 2 in one)
    assert second["loss"] == 2.0 and second["stage"] == "first" and second["evaluate/text/loss"] == 1.5
    assert second["speed/tokens_per_second"] == 16.0 and "loss/vision" not in second
    (run, *_) = [record.run for record in records(files[0]) if record.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.project, run.display_name) == ("p", "a-run") and config["model"] == {"use": "llama"}


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        WandbObserver("offline", every=0)
