"""Finite scalar quantisation: exactly the published rounding, every code reachable, files that come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.testing.vision_tokenizer import check_vision_tokenizer
from lwm_vqgan.passport import passport, save_tokenizer
from lwm_vqgan.quantize import FiniteScalar
from lwm_vqgan.tokenizer import FSQFamily, VQGANFamily


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 6, 5), (2, 3), (7,)])
def test_rounding_is_that_of_the_paper_and_every_code_is_its_own(levels):
    quantizer = FiniteScalar(levels)
    latents = jnp.asarray(np.random.default_rng(0).normal(0, 2, (4000, len(levels))), jnp.float32)
    codes = quantizer.nearest(latents)
    # The authors' listing (appendix A), word for word.
    sizes, basis = np.array(levels), np.concatenate(([1], np.cumprod(levels[:-1]))).astype(np.uint32)
    half_l = (sizes - 1) * (1 - 1e-3) / 2
    offset = np.where(sizes % 2 == 1, 0.0, 0.5)
    bounded = np.tanh(np.asarray(latents, np.float64) + np.tan(offset / half_l)) * half_l - offset
    vectors = np.round(bounded) / (sizes // 2)
    theirs = ((vectors * (sizes // 2) + sizes // 2) * basis).sum(axis=-1).astype(np.uint32)
    tied = np.abs(np.abs(bounded - np.floor(bounded)) - 0.5).min(axis=-1) < 1e-5
    assert np.array_equal(np.asarray(codes)[~tied], theirs[~tied]) and tied.mean() < 0.01
    assert np.allclose(np.asarray(quantizer.lookup(codes))[~tied], vectors[~tied])
    every = jnp.arange(np.prod(levels), dtype=jnp.int32)
    assert len(np.unique(np.asarray(quantizer.lookup(every)), axis=0)) == len(every)
    assert np.abs(quantizer.lookup(every)).max() <= 1


def test_the_tokenizer_keeps_the_contract_and_comes_back_from_its_file(tmp_path):
    family = FSQFamily("tiny")
    check_vision_tokenizer(family)
    made = family.init(key=jax.random.key(3))
    stated = save_tokenizer(made, tmp_path / "fsq.safetensors")
    for reader in (family, FSQFamily()):
        back = reader.restore(tmp_path / "fsq.safetensors")
        assert back.codebook_size == 32 and passport(back) == stated and stated.tokenizer == "fsq"
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (back, made)), strict=True))


def test_each_family_refuses_the_other_s_files_and_says_which_reads_them(tmp_path):
    save_tokenizer(FSQFamily("tiny").init(key=jax.random.key(0)), tmp_path / "fsq.safetensors")
    save_tokenizer(VQGANFamily("tiny").init(key=jax.random.key(0)), tmp_path / "vq.safetensors")
    with pytest.raises(ValueError, match="with finite scalar quantisation: build the family {'use': 'fsq'}"):
        VQGANFamily().restore(tmp_path / "fsq.safetensors")
    with pytest.raises(ValueError, match="with a codebook: build the family {'use': 'vqgan'}"):
        FSQFamily().restore(tmp_path / "vq.safetensors")
    with pytest.raises(ValueError, match=r"levels is \(8, 4\), not \(4, 4\)"):
        FSQFamily(levels=(4, 4)).restore(tmp_path / "fsq.safetensors")


def test_levels_that_are_none_are_refused():
    for levels in ((), (5, 1)):
        with pytest.raises(ValueError, match="at least 2 levels"):
            FSQFamily(levels=levels)


def test_grids_of_equal_size_and_other_levels_have_other_passports():
    one, other = (FSQFamily("tiny", levels=levels).init(key=jax.random.key(0)) for levels in ((8, 4), (4, 8)))
    assert one.passport()["codebook_sha256"] != other.passport()["codebook_sha256"]
