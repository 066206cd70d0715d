"""The tokenizer: its contract, weight files, and the one that ships."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from safetensors.numpy import load_file, save_file

from lwm_core.testing.vision_tokenizer import check_vision_tokenizer
from lwm_core.vision.video import Sampling, read_video
from lwm_vqgan.shape import SIZES, VQGANShape
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.train.score import score
from lwm_vqgan.weights import read_weights, save_weights


ASSETS = Path(__file__).parents[3] / "assets"
SHIPPED = ASSETS / "vqgan" / "small.safetensors"


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_tokenizer_keeps_the_contract(at_once):
    check_vision_tokenizer(VQGANFamily("tiny", frames_at_once=at_once))


def test_codes_do_not_depend_on_how_many_frames_run_at_once():
    frames = jnp.asarray(np.random.default_rng(0).random((5, 16, 16, 3)), jnp.float32)
    made = [VQGANFamily("tiny", frames_at_once=n).init(key=jax.random.key(0)).encode(frames) for n in (1, 2, 5)]
    assert all(np.array_equal(codes, made[0]) for codes in made)


def test_black_and_white_are_the_ends_of_the_pixel_range():
    signed = VQGANFamily("tiny").init(key=jax.random.key(0))
    unit = VQGANFamily("tiny", pixel_range=(0.0, 1.0)).init(key=jax.random.key(0))
    frames = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3)), jnp.float32)
    assert np.allclose(signed.latents(frames), unit.latents(2 * frames - 1), atol=1e-5)
    latents = signed.latents(frames)
    assert np.allclose(signed.pixels(latents), (unit.pixels(latents) + 1) / 2, atol=1e-5)


def test_weights_come_back_bit_for_bit(tmp_path):
    family = VQGANFamily("tiny")
    tokenizer = family.init(key=jax.random.key(3))
    save_weights(tokenizer, tokenizer.shape, tmp_path / "t.safetensors", {"steps": 3})
    back = family.restore(tmp_path / "t.safetensors")
    assert jax.tree.structure(back) == jax.tree.structure(tokenizer)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (back, tokenizer)), strict=True))
    found = read_weights(tmp_path / "t.safetensors")
    assert found.facts == {"steps": 3} and VQGANShape(**found.sizes) == SIZES["tiny"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_files_that_do_not_fit_are_named_with_what_to_do(tmp_path):
    path = tmp_path / "t.safetensors"
    tokenizer = VQGANFamily("tiny").init(key=jax.random.key(0))
    save_weights(tokenizer, tokenizer.shape, path)
    with pytest.raises(ValueError, match=r"another size: frame is 16, not 256.*Build the family with size='tiny'"):
        VQGANFamily("full").restore(path)
    with pytest.raises(ValueError, match="code_dim is 4, not 8. Build the family with size='tiny'"):
        VQGANFamily("tiny", code_dim=8).restore(path)
    with pytest.raises(FileNotFoundError, match="No weights at"):
        VQGANFamily("tiny").restore(tmp_path / "none.safetensors")
    header = {"format": "lwm-vqgan", "version": "1", "shape": json.dumps(SIZES["tiny"].plain()), "facts": "{}"}
    tensors = load_file(path)
    kept = {name: array for name, array in tensors.items() if name != "quant_conv.bias"}
    save_file(kept, path, metadata=header)
    with pytest.raises(ValueError, match=r"1 tensors are missing \['quant_conv.bias'\]"):
        VQGANFamily("tiny").restore(path)
    save_file({**tensors, "quant_conv.bias": np.zeros(5, np.float32)}, path, metadata=header)
    with pytest.raises(ValueError, match=r"quant_conv.bias has shape \(5,\), this VQGAN needs \(4,\)"):
        VQGANFamily("tiny").restore(path)
    save_file({"model.weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="holds no VQGAN of a known kind"):
        VQGANFamily("tiny").restore(path)
    other = tmp_path / "t.txt"
    other.write_text("no weights")
    with pytest.raises(ValueError, match="no known weight format: give one of our safetensors, a folder of diffusers"):
        VQGANFamily("tiny").restore(other)
    save_weights(tokenizer, tokenizer.shape, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        VQGANFamily("tiny").restore(path)


def test_the_shipped_tokenizer_reconstructs_frames_it_never_saw():
    tokenizer = VQGANFamily("small").restore(SHIPPED)
    result = score(tokenizer, read_video(ASSETS / "vqgan" / "held-out.mkv", Sampling(72)).pixels)
    stated = read_weights(SHIPPED).facts["scores"]["held out"]  # on four times as many frames of the same stretch
    assert result.frames == 88 and abs(result.psnr - stated["psnr"]) < 0.2 and abs(result.ssim - stated["ssim"]) < 0.02
    assert result.psnr >= 24 and result.code_use > 0.6
    assert SHIPPED.stat().st_size < 8e6


def test_the_shipped_tokenizer_keeps_the_contract():
    check_vision_tokenizer(VQGANFamily("small"), VQGANFamily("small").restore(SHIPPED))


def test_bytes_and_codes_that_mean_nothing_are_refused():
    tokenizer = VQGANFamily("tiny").init(key=jax.random.key(0))
    size = tokenizer.frame_size[0]
    with pytest.raises((ValueError, TypeCheckError), match="uint8|u8"):  # the suite's types are checked first
        tokenizer.encode(jnp.zeros((1, size, size, 3), jnp.uint8))
    for code in (-1, tokenizer.codebook_size):
        with pytest.raises(ValueError, match=f"this tokenizer has 0 to {tokenizer.codebook_size - 1}"):
            tokenizer.decode(jnp.full((1, tokenizer.codes_per_frame), code))
