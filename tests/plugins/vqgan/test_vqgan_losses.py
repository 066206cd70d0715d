"""Losses and measures of tokenizer training, each against a formula or a network written by somebody else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.train import FrameBank, TokenizerRecipe, train_tokenizer
from lwm_vqgan.train.adversarial import Discriminator, balance, discriminator_loss, generator_loss
from lwm_vqgan.train.losses import Judges, Phase, tokenizer_loss
from lwm_vqgan.train.perceptual import SLICES, read_perceptual
from lwm_vqgan.train.ssim import ssim


PICTURES = np.random.default_rng(0).random((2, 2, 24, 32, 3)).astype(np.float32)


def test_ssim_is_that_of_scipy_s_gaussian_filter():
    from scipy.ndimage import gaussian_filter

    one, other = PICTURES[0].astype(np.float64), (0.7 * PICTURES[0] + 0.3 * PICTURES[1]).astype(np.float64)

    def blurred(x):
        return gaussian_filter(x, (0, 1.5, 1.5, 0), truncate=3.5)[:, 5:-5, 5:-5]

    a, b = blurred(one), blurred(other)
    va, vb, cov = blurred(one**2) - a * a, blurred(other**2) - b * b, blurred(one * other) - a * b
    expected = (2 * a * b + 1e-4) * (2 * cov + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4))
    assert np.allclose(ssim(one, other), expected.mean(axis=(1, 2, 3)), atol=1e-12)
    assert np.allclose(ssim(one, one), 1)
    tiny = PICTURES[0][:, :6, :6]
    assert np.allclose(ssim(tiny, tiny), 1) and (ssim(tiny, 1 - tiny) < 0.5).all()


def vgg_tensors(torch_names: bool = True) -> dict[str, np.ndarray]:
    """VGG16 and heads with random weights, under the names of torchvision and LPIPS."""
    generator, tensors, before = np.random.default_rng(1), {}, 3
    for number, indices in enumerate(SLICES, 1):
        width = min(64 * 2 ** (number - 1), 512)
        for index in indices:
            name = f"features.{index}" if torch_names else f"net.slice{number}.{index}"
            weight = generator.standard_normal((width, before, 3, 3), np.float32) * (2 / (9 * before)) ** 0.5
            tensors |= {f"{name}.weight": weight, f"{name}.bias": 0.1 * generator.standard_normal(width, np.float32)}
            before = width
        tensors[f"lin{number - 1}.model.1.weight"] = generator.random((1, width, 1, 1), np.float32)
    return tensors


@pytest.mark.parametrize("torch_names", [True, False])
def test_the_perceptual_distance_is_that_of_torch(tmp_path, torch_names):
    torch = pytest.importorskip("torch")
    tensors = vgg_tensors(torch_names)
    save_file(tensors, tmp_path / "vgg.safetensors")
    ours = np.asarray(read_perceptual([tmp_path / "vgg.safetensors"])(*map(jnp.asarray, PICTURES)))
    theirs = _distance(torch, tensors, PICTURES, torch_names)
    assert np.allclose(ours, theirs, rtol=2e-4), (ours, theirs)
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, tmp_path / "vgg.pth")
    again = read_perceptual([tmp_path / "vgg.pth"])(*map(jnp.asarray, PICTURES))
    assert np.array_equal(ours, np.asarray(again))


def _distance(torch, tensors, pictures, torch_names) -> np.ndarray:
    """LPIPS in the words of its authors' code."""
    names = [f"features.{i}" if torch_names else f"net.slice{k}.{i}" for k, s in enumerate(SLICES, 1) for i in s]
    taken = iter([{part: torch.tensor(tensors[f"{name}.{part}"]) for part in ("weight", "bias")} for name in names])
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    x = [(2 * torch.tensor(p).permute(0, 3, 1, 2) - 1 - shift) / scale for p in pictures]
    total = 0
    for number, indices in enumerate(SLICES):
        if number:
            x = [torch.nn.functional.max_pool2d(each, 2, 2) for each in x]
        for _ in indices:
            weights = next(taken)
            x = [torch.relu(torch.nn.functional.conv2d(e, weights["weight"], weights["bias"], padding=1)) for e in x]
        unit = [each / (torch.sqrt(torch.sum(each**2, dim=1, keepdim=True)) + 1e-10) for each in x]
        head = torch.tensor(tensors[f"lin{number}.model.1.weight"])
        total = total + torch.nn.functional.conv2d((unit[0] - unit[1]) ** 2, head).mean([2, 3])
    return total[:, 0].numpy()


def test_weights_of_the_perceptual_loss_are_asked_for_by_name(tmp_path):
    tensors = vgg_tensors()
    save_file({n: t for n, t in tensors.items() if n.startswith("features")}, tmp_path / "vgg16.safetensors")
    save_file({n: t for n, t in tensors.items() if n.startswith("lin")}, tmp_path / "heads.safetensors")
    with pytest.raises(ValueError, match=r"there is no lin0.model.1.weight. Give VGG16 .* and the heads of LPIPS"):
        read_perceptual([tmp_path / "vgg16.safetensors"])
    judge = read_perceptual([tmp_path / "vgg16.safetensors", tmp_path / "heads.safetensors"])
    one, other = map(jnp.asarray, PICTURES)
    assert np.allclose(judge(one, one), 0) and (np.asarray(judge(one, other)) > 0.01).all()
    gradient = jax.grad(lambda x: judge(x, other).sum())(jnp.zeros_like(one))
    assert np.isfinite(gradient).all(), "black pictures have no direction, and must have a gradient"
    with pytest.raises(ValueError, match="needs at least 16"):
        judge(one[:, :8], other[:, :8])
    save_file({**tensors, "features.0.bias": np.zeros(3, np.float32)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"features.0.bias has shape \(3,\), VGG16 has \(64,\)"):
        read_perceptual([tmp_path / "odd.safetensors"])


def test_hinge_losses_and_their_balance():
    real, made = jnp.array([0.5, 2.0]), jnp.array([-0.5, -3.0])
    assert np.isclose(discriminator_loss(real, made), 0.5 * (0.25 + 0.25)) and np.isclose(generator_loss(made), 1.75)
    assert np.isclose(balance(jnp.array([3.0, 4.0]), jnp.array([0.5])), 10, rtol=1e-3)
    assert balance(jnp.ones(3), jnp.zeros(3)) == 1e4, "a discriminator that says nothing is not followed to infinity"


def test_the_adversarial_weight_makes_both_gradients_at_the_last_layer_equal():
    recipe = TokenizerRecipe(adversarial_weight=1.0, adversarial_width=8, adversarial_levels=1)
    tokenizer = VQGANFamily("tiny").init(key=jax.random.key(0))
    judges = Judges(None, Discriminator(8, 1, key=jax.random.key(1)))
    frames = jnp.asarray(PICTURES[0][:, :16, :16])

    def gradient(phase, recipe):
        loss = jax.grad(lambda t: tokenizer_loss(t, frames, judges, recipe, phase)[0])
        return loss(tokenizer).decoder.conv_out.weight

    without = gradient(Phase(True, False), recipe)
    added = gradient(Phase(True, True), recipe) - without
    assert np.isclose(jnp.linalg.norm(added), jnp.linalg.norm(without), rtol=1e-3)


def test_all_losses_together_train():
    generator = np.random.default_rng(2)
    bank = FrameBank([generator.integers(0, 255, (8, 16, 16, 3)).astype(np.uint8)], 16)
    options = dict(adversarial_weight=0.5, adversarial_start=0.5, adversarial_width=8, adversarial_levels=1)
    recipe = TokenizerRecipe(steps=8, batch=2, warmup_steps=1, plain_share=0.25, absolute_weight=1.0, **options)
    lines: list[str] = []
    train_tokenizer(VQGANFamily("tiny"), bank, recipe, report=lines.append, every=4)
    assert "discriminator" not in lines[0] and "discriminator" in lines[1] and "nan" not in "".join(lines)
