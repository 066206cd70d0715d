"""`lwm generate` and `lwm chat` as a person meets them: files that others read, one clear message for a mistake."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.vision.video import read_picture, read_video
from lwm_core.vision.write import write_frames
from lwm_registry import cli, compose, load
from lwm_registry.cli.chat import HELP


VQGAN = {"use": "vqgan", "size": "small", "weights": "assets/vqgan/small.safetensors"}


def run_of(folder, vision):
    """A run's folder of a model that has learnt nothing but has grown to vision."""
    made = compose("tiny-world", {"vision": vision, "sampler": {"use": "categorical"}})
    grown = compose("tiny-world", {"vision": vision, "sampler": {"use": "categorical"}, "curriculum.stages": [
        {"name": "both", "sequence_length": 512, "rope_theta": 1e4, "rows": 1, "steps": 1, "learning_rate": 1e-3,
         "mixture": {"squares": 1.0}, "modalities": ["text", "vision"]}]})  # fmt: skip
    grown.save(folder / "checkpoints")
    (folder / "recipe.json").write_text(json.dumps({**made.recipe, "curriculum": grown.recipe["curriculum"]}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("toy"), {"use": "patch-mean"})


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Thirty frames of noise in three seconds, and one of them as a picture."""
    folder = tmp_path_factory.mktemp("film")
    frames = np.random.default_rng(0).integers(0, 255, (30, 32, 48, 3)).astype(np.uint8)
    return write_frames(folder / "film.mp4", frames, fps=10.0), write_frames(folder / "one.png", frames[0])


@pytest.fixture
def lwm(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["lwm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return call


def test_a_picture_is_exactly_what_its_codes_decode_to(lwm, run, tmp_path):
    out = tmp_path / "new" / "a.png"
    code, printed, _ = lwm("generate", run, "a red square", "--image", "--out", out, "--count", 2, "--json")
    facts = json.loads(printed)
    names = [str(out.with_stem(f"a-{n}")) for n in (1, 2)]
    vision = load(run).vision
    assert code == 0 and facts["files"] == names and facts["prompt"] == "a red square"
    assert facts["codes_per_frame"] == [vision.codes_per_frame] * 2 and facts["seconds"] > 0
    for name, clip in zip(names, facts["clips"], strict=True):
        pixels = np.asarray(vision.decode(jnp.asarray(clip["codes"], jnp.int32)))
        assert np.array_equal(read_picture(name).pixels, np.round(pixels * 255).astype(np.uint8))


def test_a_clip_of_the_shipped_tokenizer_goes_on_from_a_picture_into_gif_and_mp4(lwm, tmp_path, film):
    run = run_of(tmp_path, VQGAN)
    options = ("--video", 2, "--from", film[1], "--guidance", 2, "--temperature", 0.9, "--top-k", 50, "--fps", 8)
    for suffix in ("gif", "mp4"):
        out = tmp_path / f"a.{suffix}"
        code, printed, err = lwm("generate", run, "a rabbit", *options, "--out", out, "--json")
        assert code == 0, err
        facts, frames = json.loads(printed), read_video(out)
        assert facts["clips"][0]["given"] == 1 and len(frames) == 3 and len(set(facts["codes_per_frame"])) == 1
        assert frames.pixels.shape[1:3] == load(run).vision.frame_size
        assert np.allclose(np.diff(frames.seconds), 1 / 8, atol=0.01)


def test_text_and_pictures_as_they_come(lwm, run, tmp_path):
    words = ("generate", run, "hello", "--any", "--tokens", 90, "--out", tmp_path / "a.png", "--set", "seed=0")
    code, printed, _ = lwm(*words, "--json")
    facts = json.loads(printed)
    written = sorted(str(path) for path in tmp_path.glob("a-*.png"))
    assert code == 0 and sorted(facts["files"]) == written
    assert len(written) == len(facts["codes_per_frame"]) and set(facts["codes_per_frame"]) <= {16}
    code, printed, _ = lwm(*words)
    assert code == 0 and all(name in printed for name in written)


def test_a_film_longer_than_the_room_is_sampled_evenly_and_says_so(lwm, run, film):
    words = ("chat", run, "--video", film[0], "--question", "What?", "--tokens", 8, "--temperature", 0)
    code, printed, err = lwm(*words, "--fps", 10, "--context", 260, "--json")
    facts = json.loads(printed)
    wanted = np.linspace(0, 29, facts["frames"]).astype(int) / 10
    assert code == 0 and 2 < facts["frames"] < 30 and np.allclose(facts["seconds"], wanted, atol=1e-3)
    assert f"{facts['frames']} frames taken" in err and facts["ids"]["written"] <= 8 and facts["ids"]["left"] >= 0
    assert facts["wording"]["form"] == "chat" and isinstance(facts["answer"], str)
    again = json.loads(lwm(*words, "--fps", 10, "--context", 260, "--json")[1])
    assert again == facts


def test_a_conversation_of_several_turns(lwm, run, film, tmp_path, monkeypatch):
    talk = tmp_path / "talk.json"
    first = ["/help", f"/video {film[0]}", "What is it?", "", "And now?", "/nonsense", "/image", "/image nothing.png"]
    lines = iter([*first, f"/image {film[1]}", "And this?", f"/save {talk}", "/new", "Hi", "/quit"])
    monkeypatch.setattr("rich.console.Console.input", lambda self, prompt="": next(lines))
    code, printed, err = lwm("chat", run, "--tokens", 6, "--context", 512, "--fps", 2)
    assert code == 0 and HELP.splitlines()[0] in printed and printed.count("ids left") == 4
    assert "There is no /nonsense" in printed and "needs a file" in printed and "nothing.png" in printed
    assert "frames taken" in err
    (record,) = [json.loads(line) for line in talk.read_text().splitlines()]
    assert [m["content"] for m in record["messages"][::2]] == ["What is it?", "And now?", "And this?"]


@pytest.mark.parametrize("words, said", [
    (("--out", "a.png"), "one of: --image"),
    (("--image", "--video", 2, "--out", "a.gif"), "one of: --image"),
    (("--video", 0, "--out", "a.gif"), "at least 1 frame"),
    (("--image", "--out", "a.jpg"), "no format is called '.jpg'"),
    (("--video", 3, "--out", "a.png"), "a PNG holds one picture"),
    (("--image", "--from", "a.png", "--out", "a.png"), "--from is for clips"),
    (("--video", 1, "--from", "nowhere.png", "--out", "a.gif"), "no such file"),
    (("--video", 2, "--from", __file__, "--out", "a.gif"), "not readable as video"),
    (("--image", "--out", "a.png", "--top-k", 0), "top_k=0"),
    (("--image", "--out", "a.png", "--guidance", "nan"), "guidance=nan"),
    (("--image", "--out", "a.png", "--form", "prose"), "--form prose"),
    (("--video", 99, "--out", "a.gif"), "99 frames of 17 ids"),
    (("--any", "--tokens", 9999, "--out", "a.png"), "9999 ids"),
])  # fmt: skip
def test_mistakes_are_named(lwm, run, words, said, tmp_path, monkeypatch):
    code, _, err = lwm("generate", run, "a red square", *words)
    assert code == 2 and said in err and "Traceback" not in err


def test_mistakes_about_models_and_files_are_named(lwm, run, film, tmp_path):
    (tmp_path / "empty.mp4").touch()
    for words, said in (
        (("generate", "tiny-text", "a", "--image", "--out", "a.png"), "no vision tokenizer"),
        (("generate", "tiny-world", "a", "--image", "--out", "a.png"), "This model has no vision"),
        (("generate", "no-such-thing", "a", "--image", "--out", "a.png"), "no folder of a run, and no recipe"),
        (("chat", run, "--video", tmp_path / "empty.mp4", "--question", "?"), "empty.mp4"),
        (("chat", run, "--image", film[0], "--question", "?"), "give --video"),
        (("chat", run, "--question", " "), "--question is empty"),
        (("chat", run, "--json"), "give --question"),
        (("chat", run, "--video", film[0], "--question", "?", "--context", 30), "not one frame"),
        (("chat", run, "--question", "x" * 600), "This turn takes"),
    ):
        code, _, err = lwm(*words)
        assert code == 2 and said in err, (words, err)
