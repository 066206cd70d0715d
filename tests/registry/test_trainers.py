"""Recipes with a trainer of their own: started, stopped and resumed by the commands, and refused with sentences."""

import json

import pytest
from typer.testing import CliRunner

from lwm_registry import catalog, compose
from lwm_registry.cli import app
from lwm_registry.errors import BadOption, UnknownName
from lwm_registry.trainers import has_trainer, is_run, trainer_of


SHORT = [
    "trainer.tokenizer={use='vqgan', size='tiny'}", "trainer.training.steps=4", "trainer.training.batch=2",
    "trainer.training.warmup_steps=1", "trainer.training.plain_share=0.3", "trainer.every=2", "trainer.score_every=2",
    "trainer.frames.fps=1", "trainer.frames.stop=4", "trainer.frames.scales=[1.0]",
    "trainer.held_out.start=4", "trainer.held_out.stop=6", "trainer.held_out.fps=1",
]  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def test_a_stopped_run_goes_on_and_makes_the_bytes_of_one_that_did_not_stop(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run("train", "vqgan", "--out", whole, *SHORT).exit_code == 0
    assert run("train", "vqgan", "--out", stopped, "--until", "2", *SHORT).exit_code == 0
    assert is_run(stopped) and not (stopped / "score.json").exists()
    assert run("resume", stopped).exit_code == 0
    for name in ("tokenizer.safetensors", "metrics.jsonl", "score.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name
    recipe = json.loads((whole / "recipe.json").read_text())
    assert recipe["trainer"]["training"]["steps"] == 4 and recipe["plugins"]["vqgan:vision-tokenizer"]
    with pytest.raises(FileExistsError, match="lwm resume"):
        run("train", "vqgan", "--out", whole, *SHORT)


def test_every_shipped_recipe_of_a_trainer_builds_and_its_written_form_builds_the_same():
    for name in ("vqgan", "fsq"):
        made = trainer_of(name)
        assert trainer_of(json.loads(json.dumps(made.recipe))).recipe == made.recipe


def test_the_recipe_s_seed_is_the_trainer_s():
    assert trainer_of("vqgan", {"seed": 7}).trainer.training.seed == 7


def test_what_does_not_fit_a_trainer_is_said():
    assert has_trainer({"trainer": {}}) and not has_trainer({})
    with pytest.raises(BadOption, match="trainer takes nothing but its own options"):
        trainer_of("vqgan", {"model.use": "llama"})
    with pytest.raises(BadOption, match="makes no pipeline: `lwm train` runs it"):
        compose("vqgan")
    with pytest.raises(UnknownName, match="has no option 'stepz'.*Did you mean 'steps'"):
        trainer_of("vqgan", {"trainer.training.stepz": 3})
    with pytest.raises(BadOption, match=r"no \[trainer\]: names are .*vision-tokenizer"):
        trainer_of("tiny-text")
    assert "trainer" in catalog().kinds
