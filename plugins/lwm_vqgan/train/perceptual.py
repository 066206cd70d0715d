"""The perceptual distance LPIPS (Zhang et al., arXiv 1801.03924) over VGG16, with weights from a file that is given.

Owns the network and how published files name its tensors. Nothing is ever downloaded, and there is no distance
without weights: random features would measure something else under the same name.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lwm_vqgan.formats.readers import is_safetensors, tensors_of
from lwm_vqgan.formats.torch_files import torch_tensors


# Where the convolutions of each of the five slices stand among torchvision's `features`.
SLICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
SMALLEST = 16  # pixels on a side: four halvings
LAYOUT = ("NHWC", "OIHW", "NHWC")


class Perceptual(eqx.Module):
    """The distance of two pictures in the features of a frozen network, each channel with its own weight."""

    convs: tuple[tuple[tuple[Array, Array], ...], ...]  # by slice: weights O I 3 3 and biases
    heads: tuple[Array, ...]  # by slice: one number a channel

    def __call__(self, one: Float[Array, "N Y X 3"], other: Float[Array, "N Y X 3"]) -> Float[Array, " N"]:
        """The distance of each pair, from pixels in [0, 1]; 0 for equal ones."""
        total = jnp.zeros(len(one))
        for a, b, head in zip(self.features(one), self.features(other), self.heads, strict=True):
            total = total + jnp.mean(jnp.square(_unit(a) - _unit(b)) @ head, axis=(1, 2))
        return total

    def features(self, pixels: Float[Array, "N Y X 3"]) -> list[Float[Array, "N Yf Xf C"]]:
        """The activations at the end of each slice."""
        if min(pixels.shape[1:3]) < SMALLEST:
            raise ValueError(f"Frames of {pixels.shape[1:3]} pixels: the perceptual loss needs at least {SMALLEST}.")
        x, found = ((2 * pixels - 1) - jnp.array(SHIFT)) / jnp.array(SCALE), []
        for index, convs in enumerate(self.convs):
            if index:
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            for weight, bias in convs:
                out = jax.lax.conv_general_dilated(x, weight, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)
                x = jax.nn.relu(out + bias)
            found.append(x)
        return found


def read_perceptual(paths: Iterable[Path]) -> Perceptual:
    """The distance with the weights in these files together, each safetensors or of `torch.save`.

    Taken are VGG16 by torchvision's names (`features.0.weight`) or LPIPS's (`net.slice1.0.weight`), and LPIPS's heads
    (`lin0.model.1.weight`). Raises `ValueError` naming the first tensor that is missing or of another shape.
    """
    paths = [Path(path) for path in paths]
    tensors: dict[str, np.ndarray] = {}
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"No file {path} with weights of the perceptual loss: check the path.")
        tensors |= tensors_of(path) if is_safetensors(path) else torch_tensors(path)
    named = ", ".join(path.name for path in paths)
    convs, channels = [], 3
    for number, indices in enumerate(SLICES, 1):
        slice_, width = [], min(64 * 2 ** (number - 1), 512)
        for index in indices:
            names = (f"features.{index}", f"net.slice{number}.{index}", f"slice{number}.{index}")
            weight = _found(tensors, [f"{name}.weight" for name in names], (width, channels, 3, 3), named)
            slice_.append((weight, _found(tensors, [f"{name}.bias" for name in names], (width,), named)))
            channels = width
        convs.append(tuple(slice_))
    heads = tuple(
        _found(tensors, [f"lin{k}.model.1.weight", f"lins.{k}.model.1.weight"], (1, part[-1][1].size, 1, 1), named)
        for k, part in enumerate(convs)
    )
    return Perceptual(tuple(convs), tuple(head.reshape(-1) for head in heads))


def _found(tensors: Mapping[str, np.ndarray], names: list[str], shape: tuple[int, ...], where: str) -> Array:
    name = next((name for name in names if name in tensors), None)
    if name is None:
        raise ValueError(
            f"{where}: there is no {names[0]}. Give VGG16 as torchvision saves it and the heads of LPIPS "
            "(its v0.1/vgg.pth), or the state_dict of lpips.LPIPS(net='vgg'), which holds both."
        )
    if tensors[name].shape != shape:
        raise ValueError(f"{where}: {name} has shape {tensors[name].shape}, VGG16 has {shape}.")
    return jnp.asarray(tensors[name], jnp.float32)


def _unit(features: Float[Array, "N Y X C"]) -> Float[Array, "N Y X C"]:
    """Each place's features with length 1. The root's argument is kept from 0, where it has no gradient."""
    length = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(features), axis=-1, keepdims=True), 1e-20))
    return features / (length + 1e-10)
