"""Loading a run: the newest weights, versions compared, and what is said when something is missing."""

import json

import numpy as np
import pytest

from lwm_core.checkpoint.base import Manifest
from lwm_core.checkpoint.safetensors import SafetensorsCheckpoint
from lwm_registry import compose, load
from lwm_registry.errors import RegistryError, RunDiffers
from lwm_registry.runs import compared


TABLES = {"tokenizer": "bytes", "model": {"use": "llama", "width": 32, "heads": 2, "ffn": 32}}


def run_in(folder, **changed):
    """A run of TABLES with two checkpoints; `changed` replaces manifest fields of the newer."""
    pipeline = compose(TABLES)
    (folder / "recipe.json").write_text(json.dumps(pipeline.recipe))
    for step in (3, 9):
        made_by = {name: getattr(pipeline, name) for name in ("recipe", "plugins", "fingerprint")}
        manifest = Manifest(step, "s", step, 1e4, pipeline.vocabulary.data(), **{**made_by, **changed})
        SafetensorsCheckpoint().save(folder / "checkpoints", {"model": {"w": np.ones(2)}}, manifest)
    return pipeline


def test_a_run_is_its_recipe_with_the_newest_weights(tmp_path):
    made = run_in(tmp_path)
    loaded = load(tmp_path)
    assert loaded.weights == tmp_path / "checkpoints/step-00000009"
    assert loaded.recipe == made.recipe
    assert load(loaded.weights).weights == loaded.weights, "a checkpoint's own folder is enough"
    assert load(tmp_path, {"sampler.use": "categorical"}).recipe["sampler"]["use"] == "categorical"


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"plugins": {"core:bytes": "0.0.1"}}, "core:bytes was 0.0.1, is"),
        ({"plugins": {"gone:part": "2"}}, "gone:part 2 is not used now"),
        ({"fingerprint": "f" * 64}, "resolves to other options"),
    ],
)
def test_a_run_of_other_versions_is_reported(tmp_path, changed, words):
    run_in(tmp_path, **changed)
    with pytest.warns(RunDiffers, match=words):
        load(tmp_path)


def test_versions_are_compared_both_ways():
    assert compared({"a": "1"}, {"a": "1"}) == []
    assert compared({"a": "1", "b": "1"}, {"a": "2", "c": "3"}) == [
        "a was 1, is 2",
        "b 1 is not used now",
        "c 3 is new",
    ]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(RegistryError, match="no folder.*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(RegistryError, match="recipe.json and checkpoints/ are expected"):
        load(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(RegistryError, match="no recipe.*compose"):
        load(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(compose(TABLES).recipe))
    with pytest.raises(RegistryError, match="no whole checkpoint"):
        load(tmp_path)


def test_a_recipe_that_is_cut_short_is_named(tmp_path):
    run_in(tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(RegistryError, match=r"recipe\.json is not JSON"):
        load(tmp_path)


def test_a_damaged_manifest_of_a_lone_checkpoint_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"step": 1, "recipe"')
    with pytest.raises(RegistryError, match=r"manifest\.json is damaged"):
        load(tmp_path)
