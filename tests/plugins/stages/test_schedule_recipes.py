"""The published schedules as recipes: described without any data, complete once a person fills in theirs."""

import json
import sys

import pytest

from lwm_core.checkpoint import CheckpointError
from lwm_registry import catalog, cli, compose
from lwm_registry.errors import UnknownName
from lwm_stages.plugin import RECIPES


FIELDS = {
    "name", "sequence_length", "rope_theta", "tokens_per_batch", "total_tokens", "steps", "warmup_steps",
    "learning_rate", "min_learning_rate", "schedule", "mesh", "mixture",
}  # fmt: skip


@pytest.fixture
def described(monkeypatch, capsys):
    def run(name, *more):
        monkeypatch.setattr(sys, "argv", ["lwm", "describe", name, *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_describes_its_stages_and_ends_with_its_own(described, name):
    stages = json.loads(described(name, "--json"))["stages"]
    assert stages[-1]["name"] == name and all(stage.keys() >= FIELDS for stage in stages)
    for stage in stages:
        assert stage["tokens_per_batch"] % stage["sequence_length"] == 0
        assert stage["tokens_per_batch"] * stage["steps"] == stage["total_tokens"]
        assert stage["figures"]["rope_theta"]["value"] == stage["rope_theta"]
    assert catalog().recipe(name).summary == RECIPES[name] == json.loads(described(name, "--json"))["summary"]


def test_a_chain_holds_every_stage_up_to_its_name(described):
    names = lambda recipe: [s["name"] for s in json.loads(described(recipe, "--json"))["stages"]]  # noqa: E731
    assert names("lwm-text-1m") == [f"lwm-text-{n}" for n in ("32k", "128k", "256k", "512k", "1m")]
    assert names("lwm-text-32k") == ["lwm-text-32k"] and names("lwm-text-chat-1m") == ["lwm-text-chat-1m"]
    assert names("lwm-chat-1m") == ["lwm-1k", "lwm-8k", "lwm-chat-32k", "lwm-chat-128k", "lwm-chat-1m"]


def test_the_table_for_people_says_what_is_not_confirmed(described):
    assert "1,048,576" in described("lwm-text-1m")
    said = described("lwm-text-chat-128k")
    assert "recalled" in said and "75% sure" in said


def test_a_title_finds_the_recipe_of_that_name(monkeypatch, capsys):
    for title, name in (
        ("LWM-Text 1M", "lwm-text-1m"),
        ("LWM-Chat-32K", "lwm-chat-32k"),
        ("ProLong-64K", "prolong-64k"),
    ):
        monkeypatch.setattr(sys, "argv", ["lwm", "describe", title])
        with pytest.raises(SystemExit):
            cli.main()
        assert f"Did you mean {name!r}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, lacks",
    [
        ("lwm-text-32k", ("tokenizer: ", "starts from LLaMA-2 7B", "no books-10k-100k;")),
        (
            "lwm-chat-1m",
            (
                "tokenizer: ",
                "vision: ",
                "starts from lwm-text-1m",
                "no openllama, image-text, video-text,",
                "[1, -1, 16, 4]",
            ),
        ),
    ],
)
def test_training_on_a_laptop_says_at_once_all_that_is_missing(monkeypatch, capsys, tmp_path, name, lacks):
    monkeypatch.setattr(sys, "argv", ["lwm", "train", name, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and "Traceback" not in said and not (tmp_path / "run").exists()
    for words in lacks:
        assert words in said


def test_gates_are_described(described, tmp_path):
    """A published schedule keeps its figures when gates are laid over it."""
    recipe = tmp_path / "gated.toml"
    recipe.write_text(
        """
        extends = "lwm-text-32k"
        [curriculum]
        use = "gated"
        schedule = { use = "lwm-text", last = "32k" }
        [[curriculum.gates]]
        stage = "lwm-text-32k"
        extensions = 2
        extend_steps = 100
        gates = [{ evaluator = "short", measure = "loss", within = 0.05 }]
        """
    )
    (stage,) = json.loads(described(str(recipe), "--json"))["stages"]
    assert stage["gates"]["extensions"] == 2 and stage["gates"]["gates"][0]["within"] == 0.05
    assert stage["figures"]["total_tokens"]["value"] == 4_800_000_000
    said = described(str(recipe))
    assert "short.loss" in said and "extended 2 times by 100 steps; then: fail" in said


def test_what_a_person_must_fill_in_is_asked_for():
    with pytest.raises(UnknownName, match=r"no \[tokenizer\]"):
        compose("lwm-text-1m")
    with pytest.raises(CheckpointError, match="llama-2-7b holds no checkpoint"):
        compose("lwm-text-1m", {"tokenizer": "bytes"}).model  # noqa: B018  (restored when it is asked for)


@pytest.mark.parametrize("name", ["lwm-text-1m", "lwm-text-chat-1m", "lwm-chat-1m", "gradient-4194k", "prolong-512k"])
def test_with_a_tokenizer_and_weights_a_recipe_is_whole(name, tmp_path):
    sizes = {"size": "debug", "width": 16, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 16}
    weights = compose({"tokenizer": "bytes", "model": {"use": "llama", **sizes}}).save(tmp_path)
    own = {"tokenizer": "bytes", "vision": "patch-mean", "weights": str(weights)}
    pipeline = compose(name, {**own, **{f"model.{option}": value for option, value in sizes.items()}})
    assert pipeline.curriculum.stages[-1].name == name and pipeline.model.vocab_size
    assert pipeline.packer.length == pipeline.curriculum.stages[0].sequence_length
    assert compose(pipeline.recipe).curriculum == pipeline.curriculum
