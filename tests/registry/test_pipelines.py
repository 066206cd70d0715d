"""Recipes to pipelines and back: what is composed, what is written down, and what is refused."""

import dataclasses
import json

import pytest

from lwm_core.attention import DenseAttention
from lwm_core.model import Rotary
from lwm_core.text import ByteTokenizer
from lwm_registry import catalog, compose, fingerprint, recipe_of
from lwm_registry.errors import BadOption, UnknownName


SMALL = {"tokenizer": "bytes", "model": {"use": "llama", "width": 32, "heads": 2, "ffn": 32}}


def test_every_shipped_recipe_composes_and_its_written_form_composes_the_same():
    names = [recipe.name for _, recipe in catalog().recipes()]
    assert "tiny-text" in names
    for name in (n for n in names if n.startswith("tiny")):
        pipeline = compose(name)
        again = compose(json.loads(json.dumps(pipeline.recipe)))
        assert again.recipe == pipeline.recipe, name
        assert (again.plugins, again.fingerprint) == (pipeline.plugins, pipeline.fingerprint), name


def test_what_is_written_down_is_whole():
    pipeline = compose("tiny-text")
    recipe = pipeline.recipe
    assert recipe["attention"]["layout"] == {"use": "contiguous"}, "a default part is written out too"
    assert recipe["sources"]["book"]["start"] == 0.0, "a default option is written out too"
    assert pipeline.plugins["core:bytes"] and pipeline.plugins["llama:llama"] and pipeline.plugins["core:contiguous"]
    assert list(recipe["observers"]) == ["progress", "log"]
    assert pipeline.packer.length == pipeline.curriculum.stages[0].sequence_length


def test_overrides_change_the_part_they_name():
    pipeline = compose(SMALL, {"seed": 3, "attention.use": "dense", "rope.theta": 5, "rope.use": "rotary"})
    assert pipeline.seed == 3
    assert isinstance(pipeline.family.attention, DenseAttention) and pipeline.family.rope == Rotary(5.0)
    assert compose(pipeline.recipe, {"rope.theta": 6.0}).family.rope == Rotary(6.0)


def test_parts_may_be_given_as_objects(tmp_path):
    tokenizer = ByteTokenizer()
    pipeline = compose(SMALL | {"tokenizer": tokenizer}, {"attention": DenseAttention()})
    assert pipeline.tokenizer is tokenizer and pipeline.recipe["attention"]["use"] == "dense"

    class Loud:
        def notify(self, event): ...

    made = compose(SMALL, {"observers.loud": Loud()})
    assert made.recipe["observers"]["loud"] == {"object": f"{__name__}.{Loud.__qualname__}"}
    with pytest.raises(BadOption, match=r"observers\.loud was a .*Loud.*give an object"):
        compose(made.recipe)


def test_a_swapped_part_is_written_down_by_recipe_of():
    pipeline = compose("tiny-text")
    assert recipe_of(pipeline) == pipeline.recipe
    swapped = dataclasses.replace(pipeline, family=dataclasses.replace(pipeline.family, rope=Rotary(7.0)))
    assert recipe_of(swapped)["rope"]["theta"] == 7.0
    assert recipe_of(swapped) != pipeline.recipe


def test_the_fingerprint_follows_recipe_and_versions():
    base = fingerprint({"seed": 1, "a": {"x": 1, "y": 2}}, {"p:q": "1"})
    assert base == fingerprint({"a": {"y": 2, "x": 1}, "seed": 1}, {"p:q": "1"})
    assert base != fingerprint({"seed": 2, "a": {"x": 1, "y": 2}}, {"p:q": "1"})
    assert base != fingerprint({"seed": 1, "a": {"x": 1, "y": 2}}, {"p:q": "2"})


@pytest.mark.parametrize(
    "recipe, overrides, error, words",
    [
        ({}, {}, UnknownName, ("no [tokenizer]", "bytes")),
        ({"tokenizer": "bytes"}, {}, UnknownName, ("no [model]", "llama")),
        (SMALL, {"seed": "x"}, BadOption, ("seed = 'x' is text", "int")),
        (SMALL, {"optimizer.clips": 1.0}, UnknownName, ("optimizer", "'clips'", "Did you mean 'clip'?")),
        (SMALL, {"optimizer": "adam"}, UnknownName, ("optimizer", "'adam'", "Did you mean 'adamw'?")),
        (SMALL, {"sources.use": "text"}, BadOption, ("[sources.NAME]",)),
        (SMALL, {"sources.a.use": "txt"}, UnknownName, ("no source 'txt'", "Did you mean 'text'?")),
        (SMALL, {"sources.a.use": "text"}, BadOption, ("sources.a", "needs the option 'paths'")),
        (SMALL, {"model.size": "8b"}, BadOption, ("model", "8b", "debug")),
        (SMALL, {"packer.use": "best-fit"}, BadOption, ("packer", "needs the option 'length'")),
        (SMALL, {"model.attention": "dense", "attention": "dense"}, BadOption, ("[attention]", "one place only")),
        (SMALL, {"modality": [{"name": "audio"}]}, BadOption, ("modality[0]", "'size'")),
    ],
)
def test_a_recipe_that_cannot_be_composed_says_what_to_write(recipe, overrides, error, words):
    with pytest.raises(error) as caught:
        compose(recipe, overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        compose(SMALL, {"sources.a": {"use": "text", "paths": ["nowhere.txt"]}})


def test_a_modality_is_a_line_of_the_recipe():
    pipeline = compose(SMALL, {"modality": [{"name": "audio", "size": 10, "markers": {"end": 9}}]})
    assert pipeline.vocabulary.names == ("text", "audio")
