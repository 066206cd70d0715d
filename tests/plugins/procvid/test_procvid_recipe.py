"""The recipe composes, and, as a long proof, reaches the figures that it is kept for."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from lwm_procvid import __main__ as command
from lwm_procvid.detector import see
from lwm_procvid.source import code_table
from lwm_procvid.world import every_frame
from lwm_registry import compose


RESULTS = Path(__file__).parents[3] / "benchmarks/results"


def test_training_never_sees_a_caption_that_is_asked_for():
    pipeline = compose("procvid")
    seen = {source.clip(i)[0].caption for source in pipeline.sources.values() for i in range(200)}
    generation, questions = pipeline.evaluators["generation"], pipeline.evaluators["questions"]
    asked = {generation._source.clip(i)[0].caption for i in range(60)}
    asked |= {questions._source.clip(i)[0].caption for i in range(60)}
    assert not seen & asked and len(asked) > 60
    assert generation.prompts == 200


def test_a_folder_without_a_run_is_an_error_and_no_traceback(tmp_path, capsys):
    assert command.main([str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert "none" in capsys.readouterr().err


@pytest.mark.slow
def test_every_frame_of_the_world_survives_the_tokenizer():
    vision = compose("procvid").vision
    pixels = np.asarray(vision.decode(jnp.asarray(code_table(vision).codes)))
    wrong = [frame for one, frame in zip(pixels, every_frame(), strict=True)
             if not see(one).clear or set(see(one).things) != set(frame)]  # fmt: skip
    assert not wrong, wrong[:5]


@pytest.mark.slow
def test_the_recipe_reaches_its_figures(tmp_path):
    compose("procvid").train(tmp_path / "run")
    found = command.measure(tmp_path / "run", tmp_path)["evaluations"]
    generation, questions = (found[name]["summary"] for name in ("generation", "questions"))
    assert generation["prompts"] == 200 and generation["exact"] == 1.0
    assert generation["content"] >= 0.9
    assert questions["right"] >= 0.9 > 0.5 > questions["constant"]
    assert json.loads((tmp_path / "procvid.json").read_text("utf-8"))["evaluations"] == found
    assert (tmp_path / "procvid.png").stat().st_size < 200_000
