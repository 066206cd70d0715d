"""Training a tokenizer: it learns, it is deterministic, the codebook stays alive, a killed run loses nothing."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.vision.write import write_frames
from lwm_vqgan.passport import passport
from lwm_vqgan.tokenizer import FSQFamily, VQGANFamily
from lwm_vqgan.train import FrameBank, FrameFiles, TokenizerRecipe, TokenizerTrainer, score, train_tokenizer
from lwm_vqgan.train.codes import CodeUse, k_means, restart_dead, update_codes
from lwm_vqgan.weights import read_weights


FAMILY = VQGANFamily("tiny")
RECIPE = TokenizerRecipe(steps=60, batch=4, warmup_steps=5, plain_share=0.3, average=0.9)


def blobs(count: int, rows: int = 16, columns: int = 24) -> np.ndarray:
    """Frames with a coloured disc on a coloured ground."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns]
    frames = np.empty((count, rows, columns, 3), np.uint8)
    for frame in frames:
        frame[:] = generator.integers(0, 255, 3)
        disc = (y - generator.integers(rows)) ** 2 + (x - generator.integers(columns)) ** 2 < 30
        frame[disc] = generator.integers(0, 255, 3)
    return frames


def test_training_learns_and_repeats_bit_for_bit():
    bank, lines = FrameBank([blobs(20), blobs(20, 20, 30)], 16), []
    held_out = blobs(30)[20:, :, :16]
    first = train_tokenizer(FAMILY, bank, RECIPE, held_out=held_out, report=lines.append, every=20, score_every=30)
    again = train_tokenizer(FAMILY, bank, RECIPE, report=lambda line: None)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True))
    trained, fresh = score(first, held_out), score(FAMILY.init(key=jax.random.key(0)), held_out)
    assert trained.psnr > fresh.psnr + 2 and trained.code_use > 0.5
    assert [line.split()[1] for line in lines if line.startswith("step")] == ["20/60", "40/60", "60/60"]
    assert sum("held out" in line for line in lines) == 2


def test_k_means_finds_the_clusters():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], np.float32)
    points = np.concatenate([c + 0.1 * np.random.default_rng(1).normal(size=(50, 2)) for c in centres])
    found = k_means(jnp.asarray(points, jnp.float32), 3, key=jax.random.key(2))
    assert np.allclose(
        np.asarray(found)[np.lexsort(np.asarray(found).round().T)], centres[np.lexsort(centres.T)], atol=0.2
    )


def test_a_code_is_the_moving_average_of_what_chose_it_and_a_dead_one_starts_again():
    use = CodeUse(jnp.array([4.0, 4.0]), jnp.array([[4.0], [8.0]]))
    latents = jnp.array([[3.0], [3.0], [3.0], [3.0]])
    use = update_codes(use, latents, jnp.zeros(4, jnp.int32), decay=0.5)
    assert np.allclose(use.counts, [4, 2]) and np.allclose(use.codes, [[2.0], [2.0]])
    fresh = restart_dead(use, latents, below=jnp.asarray(3.0), count=1.0, key=jax.random.key(0))
    assert np.allclose(fresh.codes, [[2.0], [3.0]]) and np.allclose(fresh.counts, [4, 1])


def test_a_bank_refuses_frames_that_are_too_small():
    with pytest.raises(ValueError, match="16×24 are smaller than the 32"):
        FrameBank([blobs(2)], 32)
    with pytest.raises(ValueError, match="No frames to train on"):
        FrameBank([], 16)


def test_every_frame_of_a_bank_is_as_likely_as_any_other():
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((9, 20, 20, 3), 255, np.uint8)
    seen = FrameBank([black, white], 16).batch(2000, np.random.default_rng(0))
    assert 0.87 < seen.mean() < 0.93


@pytest.fixture
def film(tmp_path):
    """Four seconds, ten frames each."""
    return write_frames(tmp_path / "film.mp4", blobs(40, 32, 40), fps=10.0)


def trainer(film, **options) -> TokenizerTrainer:
    defaults = dict(
        tokenizer=FAMILY,
        frames=FrameFiles((film,), fps=10.0, stop=3.0, scales=(1.0, 1.5)),
        held_out=FrameFiles((film,), fps=5.0, start=3.0),
        training=TokenizerRecipe(steps=8, batch=2, warmup_steps=1, plain_share=0.3),
        every=2,
        score_every=4,
    )
    return TokenizerTrainer(**{**defaults, **options})


def test_a_run_that_is_killed_and_goes_on_equals_one_that_is_not(tmp_path, film, monkeypatch):
    whole = trainer(film).train(tmp_path / "whole")
    calls = []

    def dies(self, *rest):
        calls.append(1)
        if len(calls) == 3:  # after the line of step 6, before its state is saved
            raise KeyboardInterrupt
        kept(self, *rest)

    from lwm_vqgan.train.folder import RunFolder

    kept = RunFolder.keep
    killed = tmp_path / "killed"
    monkeypatch.setattr(RunFolder, "keep", dies)
    with pytest.raises(KeyboardInterrupt):
        trainer(film).train(killed)
    monkeypatch.undo()
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"event": "steps", "step": 6, "pi')  # what a kill leaves of a line
    assert trainer(film).resume(killed).read_bytes() == whole.read_bytes()
    for name in ("metrics.jsonl", "score.json", "samples/step-00000008.png"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [
        ("steps", 2), ("score", 4), ("steps", 4), ("steps", 6), ("score", 8), ("steps", 8),
    ]  # fmt: skip
    assert not list(killed.rglob("*.partial"))


def test_a_run_leaves_weights_with_a_passport_and_scores_of_frames_it_never_saw(tmp_path, film):
    out = tmp_path / "run"
    path = trainer(film).train(out)
    restored = FAMILY.restore(path)
    facts = read_weights(path).facts
    assert facts["passport"] == json.loads(json.dumps(passport(restored).plain()))
    scores = json.loads((out / "score.json").read_text())
    assert scores == facts["scores"] and list(scores) == ["held out", "seen in training", "bundled pictures (bunny-3)"]
    again = dataclasses.asdict(score(restored, trainer(film).held_out.squares(16)))
    assert scores["held out"] == again and again["frames"] == 5
    assert "film.mp4" in facts["frames"]["paths"] and str(tmp_path) not in json.dumps(facts)
    with pytest.raises(FileExistsError, match="already holds a run"):
        trainer(film).train(out)


def test_an_fsq_tokenizer_learns_in_the_same_trainer(tmp_path):
    bank, family = FrameBank([blobs(20)], 16), FSQFamily("tiny")
    recipe = TokenizerRecipe(steps=60, batch=4, warmup_steps=5, plain_share=0.0, average=0.9)
    held_out = blobs(30)[20:, :, :16]
    trained = train_tokenizer(family, bank, recipe, report=lambda line: None)
    assert score(trained, held_out).psnr > score(family.init(key=jax.random.key(0)), held_out).psnr + 2


def test_what_a_trainer_cannot_do_is_said_before_it_starts(film, tmp_path):
    with pytest.raises(FileNotFoundError, match="No file or folder none.mp4"):
        FrameFiles((Path("none.mp4"),))
    with pytest.raises(ValueError, match=r"film.mp4 is trained on and held out"):
        trainer(film, held_out=FrameFiles((film,), start=2.5))
    with pytest.raises(ValueError, match="score_every=5 is no multiple of every=2"):
        trainer(film, score_every=5)
    with pytest.raises(ValueError, match="needs both training.perceptual_weight and perceptual_weights"):
        trainer(film, training=TokenizerRecipe(perceptual_weight=1.0))
    with pytest.raises(ValueError, match="needs frames of 24 pixels, these have 16: give fewer levels"):
        trainer(film, training=TokenizerRecipe(adversarial_weight=1.0)).train(tmp_path / "run")
    with pytest.raises(ValueError, match="steps=0: give at least 1"):
        TokenizerRecipe(steps=0)
    with pytest.raises(ValueError, match="the run has diverged"):
        trainer(film, training=TokenizerRecipe(steps=8, batch=2, learning_rate=1e30, warmup_steps=0)).train(tmp_path)


def test_folders_hold_films_and_pictures_at_any_depth(film, tmp_path):
    write_frames(tmp_path / "deep" / "one.png", blobs(1, 20, 30)[0])
    (tmp_path / "notes.txt").write_text("not a picture")
    files = FrameFiles((tmp_path,), fps=10.0)
    assert [file.name for file in files.files()] == ["one.png", "film.mp4"]
    assert len(files.bank(16)) == 41 and files.squares(16).shape == (41, 16, 16, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no film and no picture"):
        FrameFiles((tmp_path / "empty",)).bank(16)
