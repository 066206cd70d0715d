"""Training a tokenizer: it learns, it is deterministic, the codebook stays alive, the command says what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.vision.write import write_frames
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.train import FrameBank, TokenizerRecipe, score, train_tokenizer
from lwm_vqgan.train.__main__ import main
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


def test_the_command_trains_scores_and_writes(tmp_path, capsys):
    film = write_frames(tmp_path / "film.mp4", blobs(40, 32, 40), fps=10.0)
    out = tmp_path / "t.safetensors"
    short = ["--size", "tiny", "--steps", "4", "--batch", "2", "--warmup-steps", "1"]
    assert main([str(film), "--out", str(out), "--stop", "3", "--held-out", "3", "4", *short]) == 0
    assert read_weights(out).facts["score"]["frames"] == 4 and "step 4/4" in capsys.readouterr().out
    FAMILY.restore(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.mp4", "--out", "t.safetensors"], "No file none.mp4"),
        (["none.mp4", "--out", "no/t.safetensors"], "No folder no for --out"),
        (["none.mp4", "--out", "t.safetensors", "--stop", "9", "--held-out", "5", "9"], "overlaps training"),
        (["none.mp4", "--out", "t.safetensors", "--steps", "0"], "give at least 1"),
    ],
)
def test_the_command_explains_without_a_traceback(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(options) == 1
    assert message in capsys.readouterr().err
