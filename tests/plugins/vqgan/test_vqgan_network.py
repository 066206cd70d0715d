"""The network: exact at full size, and each arithmetic detail against plain NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_vqgan.layers import Conv, Downsample, GroupNorm, ResnetBlock, Upsample, fold, unfold
from lwm_vqgan.quantize import Codebook, Embedding
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.weights import named_leaves


def plain_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A convolution without padding, one output pixel at a time, in float64."""
    out, _, kernel, _ = weight.shape
    rows, columns = (x.shape[1] - kernel) // stride + 1, (x.shape[2] - kernel) // stride + 1
    made = np.zeros((len(x), rows, columns, out))
    for r in range(rows):
        for c in range(columns):
            window = x[:, r * stride : r * stride + kernel, c * stride : c * stride + kernel]
            made[:, r, c] = np.einsum("nyxi,oiyx->no", window.astype(np.float64), weight.astype(np.float64)) + bias
    return made


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 6, 8, 8)).astype(np.float32)


def with_bias(conv: Conv) -> Conv:
    return eqx.tree_at(lambda c: c.bias, conv, jnp.linspace(-1, 1, len(conv.bias)))


def test_the_full_size_is_the_published_network():
    skeleton = eqx.filter_eval_shape(VQGANFamily().init, key=jax.random.key(0))
    shapes = {name: leaf.shape for name, leaf in named_leaves(skeleton)}
    assert len(shapes) == 277
    assert sum(np.prod(shape) for shape in shapes.values()) == 146_244_675
    shortcuts = sorted(name.removesuffix(".weight") for name in shapes if "shortcut.weight" in name)
    blocks = [f"encoder.down_blocks.{i}" for i in (1, 3, 4)] + [f"decoder.up_blocks.{n}" for n in (1, 2, 4)]
    assert shortcuts == sorted(f"{block}.resnets.0.conv_shortcut" for block in blocks)
    expected = {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.down_blocks.3.downsamplers.0.conv.weight": (512, 512, 3, 3),
        "encoder.conv_out.weight": (64, 768, 3, 3),
        "quant_conv.weight": (64, 64, 1, 1),
        "quantize.embedding.weight": (8192, 64),
        "decoder.mid_block.resnets.1.conv2.weight": (768, 768, 3, 3),
        "decoder.up_blocks.3.upsamplers.0.conv.weight": (256, 256, 3, 3),
        "decoder.up_blocks.4.resnets.2.norm1.weight": (128,),
        "decoder.conv_out.weight": (3, 128, 3, 3),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert not any("upsamplers" in name for name in shapes if "up_blocks.4" in name)
    assert (skeleton.codes_per_frame, skeleton.codebook_size, skeleton.frame_size) == (256, 8192, (256, 256))


def test_downsampling_pads_the_bottom_and_the_right_only(pixels):
    layer = Downsample(8, key=jax.random.key(0))
    layer = eqx.tree_at(lambda d: d.conv, layer, with_bias(layer.conv))
    padded = np.pad(pixels, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = plain_conv(padded, np.asarray(layer.conv.weight), np.asarray(layer.conv.bias), 2)
    assert expected.shape == (2, 3, 4, 8)
    assert np.allclose(layer(jnp.asarray(pixels)), expected, atol=1e-5)
    both_sides = np.pad(pixels, ((0, 0), (1, 0), (1, 0), (0, 0)))
    other = plain_conv(both_sides, np.asarray(layer.conv.weight), np.asarray(layer.conv.bias), 2)
    assert np.abs(other - expected).max() > 0.1


def test_upsampling_repeats_every_pixel_then_convolves(pixels):
    layer = Upsample(8, key=jax.random.key(0))
    layer = eqx.tree_at(lambda u: u.conv, layer, with_bias(layer.conv))
    doubled = np.pad(pixels.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = plain_conv(doubled, np.asarray(layer.conv.weight), np.asarray(layer.conv.bias), 1)
    assert np.allclose(layer(jnp.asarray(pixels)), expected, atol=1e-5)


def test_group_norm_is_exact_where_the_mean_is_large(pixels):
    shifted = pixels.astype(np.float64) * 0.01 + 30
    grouped = shifted.reshape(2, 48, 4, 2)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=(1, 3), keepdims=True) + 1e-6)
    norm = GroupNorm(8, 4)
    norm = eqx.tree_at(lambda n: (n.weight, n.bias), norm, (jnp.arange(8.0), -jnp.arange(8.0)))
    expected = expected.reshape(pixels.shape) * np.arange(8) - np.arange(8)
    assert np.allclose(norm(jnp.asarray(shifted, jnp.float32)), expected, atol=5e-3)


def test_a_residual_block_starts_from_its_input(pixels):
    block = ResnetBlock(8, 8, 4, key=jax.random.key(0))
    silent = eqx.tree_at(lambda b: b.conv2.weight, block, jnp.zeros_like(block.conv2.weight))
    assert block.conv_shortcut is None and np.array_equal(silent(jnp.asarray(pixels)), pixels)
    wider = ResnetBlock(8, 12, 4, key=jax.random.key(0))
    assert wider.conv_shortcut.weight.shape == (12, 8, 1, 1) and wider(jnp.asarray(pixels)).shape == (2, 6, 8, 12)


@pytest.mark.parametrize("patch", [1, 2])
def test_folding_patches_loses_nothing(pixels, patch):
    folded = fold(jnp.asarray(pixels), patch)
    assert folded.shape == (2, 6 // patch, 8 // patch, 8 * patch**2)
    assert np.array_equal(unfold(folded, patch), pixels)


def test_the_nearest_code_is_the_nearest_even_far_from_zero():
    generator = np.random.default_rng(0)
    codes = (generator.normal(size=(200, 6)) + 50).astype(np.float32)
    latents = (generator.normal(size=(3, 5, 6)) + 50).astype(np.float32)
    book = eqx.tree_at(
        lambda b: b.embedding.weight, Codebook(Embedding(200, 6, key=jax.random.key(0))), jnp.asarray(codes)
    )
    distances = np.square(latents[..., None, :].astype(np.float64) - codes).sum(-1)
    chosen = np.asarray(book.nearest(jnp.asarray(latents)))
    best = distances.min(-1)
    reached = np.take_along_axis(distances, chosen[..., None], -1)[..., 0]
    assert np.allclose(reached, best, atol=2e-2)
    assert np.array_equal(book.lookup(jnp.asarray(chosen)), codes[chosen])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "medium"}, "No VQGAN size 'medium': give one of full, small, tiny"),
        ({"size": "tiny", "frame": 15}, "15 pixels does not divide by 4"),
        ({"channels": (100, 200)}, "100 channels does not divide by 32 groups"),
        ({"frames_at_once": 0}, "give 1 or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        VQGANFamily(**options)
