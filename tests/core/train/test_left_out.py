"""A stage says at its start what its sources leave out."""

import json

from lwm_core.attention import LocalAttention
from lwm_core.curriculum import Stage, StagedCurriculum
from lwm_core.data import BestFitPacker, Documents, Filtered, Jsonl
from lwm_core.model import TransformerFamily
from lwm_core.pipeline import Pipeline
from lwm_core.text import ByteTokenizer
from lwm_core.train.jsonl import JsonlObserver
from lwm_core.train.progress import ProgressObserver


def test_observers_hear_what_sources_leave_out(tmp_path, capsys):
    data = tmp_path / "some.jsonl"
    data.write_text('{"text": "Call me Ishmael."}\n{"text": 3}\n{"text": "Short."}\n')
    bad = Jsonl((data,), on_error="skip")
    stage = Stage("one", 16, 1e4, rows=1, steps=1, learning_rate=1e-3, mixture={"kept": 0.5, "whole": 0.5})
    sources = {"kept": Filtered(bad, min_chars=9), "whole": Documents.of_texts(["Some years ago."]), "unused": bad}
    family = TransformerFamily(LocalAttention(), width=8, heads=2, kv_heads=1, ffn=8, layers=1)
    observers = (ProgressObserver(), JsonlObserver())
    Pipeline(
        family, ByteTokenizer(), StagedCurriculum((stage,)), sources, BestFitPacker(2, buffer=1), observers=observers
    ).train(tmp_path / "run")
    said = capsys.readouterr().err
    assert "source kept: 2 of 3 records left out" in said and "some.jsonl:2: field 'text' is a number (3)" in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (heard,) = [line["left_out"] for line in lines if line["event"] == "StageStarted"]
    assert heard.keys() == {"kept"} and heard["kept"]["count"] == 2
    assert heard["kept"]["kinds"] == {"is a number": 1, "has fewer than 9 chars": 1}
