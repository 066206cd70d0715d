"""The range found by reconstruction, and passports: what they say and what they refuse."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lwm_core.vision.passport import Passport, PassportMismatch, check
from lwm_vqgan.convert import main
from lwm_vqgan.passport import must_reproduce, passport, save_tokenizer
from lwm_vqgan.pictures import pictures
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.vqgan import VQGAN
from lwm_vqgan.weights import read_weights, save_weights


SHIPPED = Path(__file__).parents[3] / "assets" / "vqgan" / "small.safetensors"
DIFFUSERS = Path(__file__).parents[2] / "fixtures" / "vqgan" / "diffusers"
SMALL = VQGANFamily(frame=72, groups=8)  # what its tensors do not show


@pytest.fixture(scope="module")
def trained() -> VQGAN:
    return VQGANFamily("small").restore(SHIPPED)


def test_the_range_is_the_one_that_reconstructs(tmp_path, trained):
    """A trained network whose file says nothing, and the same network rewritten to take pixels in [0, 1]."""
    tensors = load_file(SHIPPED)
    save_file(tensors, tmp_path / "signed.safetensors")
    first, last = tensors["encoder.conv_in.weight"], tensors["decoder.conv_out.weight"]
    unit = {
        **tensors,
        "encoder.conv_in.weight": 2 * first,
        "encoder.conv_in.bias": tensors["encoder.conv_in.bias"] - first.sum(axis=(1, 2, 3)),
        "decoder.conv_out.weight": last / 2,
        "decoder.conv_out.bias": (tensors["decoder.conv_out.bias"] + 1) / 2,
    }
    save_file(unit, tmp_path / "unit.safetensors")
    for name, pixel_range in (("signed", (-1.0, 1.0)), ("unit", (0.0, 1.0))):
        found = SMALL.restore(tmp_path / f"{name}.safetensors")
        assert found.shape.pixel_range == pixel_range
        assert found.range_from.startswith("probed: [0, 1] ") and "dB" in found.range_from
        save_tokenizer(found, tmp_path / "kept.safetensors")
        kept = VQGANFamily().restore(tmp_path / "kept.safetensors")
        assert jax.tree.structure(kept) == jax.tree.structure(found)
    assert trained.range_from == "given"


def test_weights_that_reconstruct_nothing_are_assumed_aloud(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = VQGANFamily(frame=24).restore(DIFFUSERS)
    assert found.shape.pixel_range == (-1.0, 1.0) and "neither pixel range reconstructs" in caplog.text
    assert found.range_from.startswith("assumed [-1.0, 1.0], for neither reconstructs: [0, 1] ")
    caplog.clear()
    given = VQGANFamily(frame=24, pixel_range=(0.0, 1.0)).restore(DIFFUSERS)
    assert (given.range_from, given.shape.pixel_range, caplog.text) == ("given", (0.0, 1.0), "")
    written = save_tokenizer(found, tmp_path / "folder")
    again = VQGANFamily().restore(tmp_path / "folder")
    assert passport(again) == written and again.range_from == found.range_from


def test_a_passport_says_what_was_measured(trained):
    made = passport(trained)
    assert (made.frame, made.grid, made.codebook_size) == ((72, 72), (12, 12), 2048)
    assert made.psnr is not None and made.psnr > 20 and made.pictures == "bunny-3"
    assert made.golden == tuple(np.asarray(trained.encode(jnp.asarray(pictures(72))))[0].tolist())
    assert made == Passport.of_plain(json.loads(json.dumps(made.plain())))
    assert made.hash == trained.passport()["hash"]
    must_reproduce(trained, made)
    with pytest.raises(ValueError, match="1 of 144 golden codes"):
        must_reproduce(trained, replace(made, golden=(*made.golden[:-1], -1)))


def test_a_passport_changes_with_the_meaning_of_codes_and_with_nothing_else(trained):
    mine = Passport.of_plain(trained.passport())

    def doubled(where) -> str:
        return eqx.tree_at(where, trained, replace_fn=lambda x: 2 * x).passport()["hash"]

    assert doubled(lambda t: t.decoder.conv_out.weight) == mine.hash
    others = [
        doubled(lambda t: t.quantize.embedding.weight),
        doubled(lambda t: t.encoder.mid_block.resnets[0].conv1.bias),
        doubled(lambda t: t.quant_conv.weight),
        trained.with_sizes(pixel_range=(0.0, 1.0)).passport()["hash"],
        trained.with_sizes(frame=36).passport()["hash"],
    ]
    assert len({mine.hash, *others}) == 6
    assert trained.with_sizes(frames_at_once=1).passport() == json.loads(json.dumps(mine.meaning()))


def test_data_of_another_tokenizer_is_refused_with_both_hashes(trained):
    mine = Passport.of_plain(trained.passport())
    other = Passport.of_plain(trained.with_sizes(pixel_range=(0.0, 1.0)).passport())
    check(mine, mine.plain())
    with pytest.raises(PassportMismatch) as raised:
        check(other.plain(), mine)
    told = str(raised.value)
    assert f"tokenised with passport {other.hash}, the model is built for {mine.hash}" in told
    assert "pixel_range (0.0, 1.0) in the data, (-1.0, 1.0) in the model" in told and "Tokenise the data again" in told
    with pytest.raises(ValueError, match="codebook_sha256 missing"):
        check({name: value for name, value in mine.plain().items() if name != "codebook_sha256"}, mine)
    with pytest.raises(ValueError, match="was changed by hand"):
        check({**mine.plain(), "codebook_size": 5}, mine)


def test_weights_that_are_not_those_of_their_passport_are_refused(tmp_path, trained):
    path = tmp_path / "t.safetensors"
    save_tokenizer(trained, path, {"film": "bunny"})
    facts = read_weights(path).facts
    assert facts["film"] == "bunny"
    changed = eqx.tree_at(lambda t: t.quantize.embedding.weight, trained, replace_fn=lambda x: -x)
    save_weights(changed, changed.shape, path, facts)
    with pytest.raises(ValueError, match=f"carries passport {passport(trained).hash}, and its tensors have "):
        VQGANFamily("small").restore(path)


def test_the_command_goes_out_and_in_again(tmp_path, capsys):
    folder, file, end = tmp_path / "folder", tmp_path / "t.safetensors", tmp_path / "end"
    assert main([str(DIFFUSERS), str(file), "--frame", "24", "--pixel-range", "0", "1"]) == 0
    assert "24 pixels, 12x12 codes of 24" in (told := capsys.readouterr().out) and "[0.0, 1.0]: given" in told
    assert main([str(file), str(folder), "--json"]) == 0 and main([str(folder), str(end), "--json"]) == 0
    one, other = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one == other and one["hash"] in told
    names = "diffusion_pytorch_model.safetensors"
    first, last = load_file(DIFFUSERS / names), load_file(end / names)
    assert set(first) == set(last) and all(np.array_equal(first[name], last[name]) for name in first)
    assert main([str(file), str(folder)]) == 1 and "is there already" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), str(tmp_path / "new")]) == 1 and "No weights at" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 16, 144, 256, 300])
def test_the_pictures_keep_their_colours_at_any_size(size):
    shown = pictures(size)
    assert shown.shape == (3, size, size, 3) and shown.dtype == np.float32
    assert np.allclose(shown.mean(axis=(1, 2)), pictures(144).mean(axis=(1, 2)), atol=0.1 if size < 16 else 0.01)
