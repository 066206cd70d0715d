"""Runs of pipelines that a program put together: what was trained is what is written down, and it loads."""

import dataclasses
import json

import numpy as np
import pytest

from lwm_core.data import Document, Documents, Span
from lwm_core.vocab import Modality
from lwm_registry import catalog, compose, load
from lwm_registry.errors import RunDiffers


STAGE = {"name": "s", "sequence_length": 32, "rope_theta": 1e4, "rows": 2, "steps": 2, "learning_rate": 1e-3}
TABLES = {
    "tokenizer": "bytes",
    "model": {"use": "transformer", "width": 16, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 16},
    "packer": {"use": "best-fit", "buffer": 1},
    "curriculum": {"use": "staged", "stages": [{**STAGE, "mixture": {"d": 1.0}, "modalities": ["text", "audio"]}]},
    "modality": [{"name": "audio", "size": 10}],
}
SOUND = Documents((Document((Span("text", "say: "), Span("audio", np.arange(10)))),))


def test_a_part_swapped_by_object_is_written_down(tmp_path):
    pipeline = compose(TABLES, {"sources": {"d": SOUND}})
    ring = catalog().build("attention", "ring")
    pipeline = dataclasses.replace(pipeline, seed=5, family=dataclasses.replace(pipeline.family, attention=ring))
    pipeline = dataclasses.replace(pipeline, modalities=(*pipeline.modalities, Modality("smell", 3)))
    trained = pipeline.train(tmp_path)
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert written == trained.recipe
    assert (written["seed"], written["attention"]["use"]) == (5, "ring")
    assert [modality["name"] for modality in written["modality"]] == ["audio", "smell"]
    loaded = load(tmp_path)  # a difference would warn, and a warning is an error here
    assert type(loaded.family.attention) is type(ring)
    assert loaded.fingerprint == trained.fingerprint


def test_documents_of_another_modality_are_trained_on_and_come_back_from_the_recipe(tmp_path):
    pipeline = compose(TABLES, {"sources": {"d": SOUND}, "observers.log.use": "jsonl"})
    pipeline.train(tmp_path)
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "tokens/" in line]
    assert all(step["tokens/audio"] > 0 for step in steps)
    loaded = load(tmp_path)
    assert loaded.vocabulary.names == ("text", "audio")
    np.testing.assert_array_equal(loaded.sources["d"][0].spans[1].content, np.arange(10))


class Mine:
    """A source of no plugin."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return SOUND[0]


def test_a_run_whose_source_is_of_no_plugin_loads_without_it(tmp_path):
    compose(TABLES, {"sources": {"d": Mine()}}).train(tmp_path)
    with pytest.warns(RunDiffers, match=r"sources\.d was a .*Mine.*left out"):
        loaded = load(tmp_path)
    assert loaded.sources == {} and loaded.model.vocab_size == 268
    again = load(tmp_path, {"sources": {"d": Mine()}})
    assert len(again.sources["d"]) == 1
    assert load(tmp_path, {"sources.d.use": "documents", "sources.d.documents": []}).sources["d"] == Documents(())


def test_the_tiny_world_sees_pictures_and_text(tmp_path):
    compose("tiny-world").train(tmp_path)
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "vision" in line]
    seen = {name: sum(step.get(f"tokens/{name}", 0) for step in steps) for name in ("text", "vision")}
    assert seen["text"] > 0 and seen["vision"] > 0, seen
