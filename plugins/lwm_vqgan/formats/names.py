"""Tensor names of open-muse and of LWM's flax tree, turned into the published ones.

Owns the spelling only. Both directions of time are theirs: open-muse counts the decoder's levels from the highest
resolution, LWM and diffusers from the lowest.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np


def from_open_muse(names: Iterable[str]) -> dict[str, str]:
    """open-muse's name of each tensor → the published one. Names that are not of the network stay as they are."""
    names = list(names)
    levels = 1 + max((int(found[1]) for name in names if (found := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)

    def level(found: re.Match) -> str:
        return f"decoder.up_blocks.{levels - 1 - int(found[1])}."

    def middle(found: re.Match) -> str:
        return f".mid_block.resnets.{int(found[1]) - 1}."

    def published(name: str) -> str:
        name = re.sub(r"^decoder\.up\.(\d+)\.", level, name)
        name = re.sub(r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1.", name)
        name = re.sub(r"\.mid\.block_(\d+)\.", middle, name)
        name = name.replace(".downsample.conv.", ".downsamplers.0.conv.").replace(
            ".upsample.conv.", ".upsamplers.0.conv."
        )
        name = re.sub(r"_blocks\.(\d+)\.block\.(\d+)\.", r"_blocks.\1.resnets.\2.", name)
        return name.replace(".nin_shortcut.", ".conv_shortcut.").replace("coder.norm_out.", "coder.conv_norm_out.")

    return {name: published(name) for name in names}


_RESNET = {
    "GroupNorm_0": "norm1",
    "Conv_0": "conv1",
    "GroupNorm_1": "norm2",
    "Conv_1": "conv2",
    "Conv_2": "conv_shortcut",
}
_ENDS = {"Conv_0": "conv_in", "GroupNorm_0": "conv_norm_out", "Conv_1": "conv_out"}
_LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def from_flax(tree: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by LWM's path (`encoder/Conv_0/kernel`) → the same by published name, kernels as O I Ky Kx."""
    return {_published(path): _torch_order(path, array) for path, array in tree.items()}


def _torch_order(path: str, array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if path.endswith("/kernel") and array.ndim == 4 else array


def _published(path: str) -> str:
    if path == "quantize/embeddings":
        return "quantize.embedding.weight"
    *blocks, last = path.split("/")
    parts = list(blocks)
    if len(blocks) >= 2 and blocks[-2].startswith("ResnetBlock_"):
        parts[-1] = _RESNET.get(blocks[-1], blocks[-1])
    elif len(blocks) == 2:
        parts[-1] = _ENDS.get(blocks[-1], blocks[-1])
    named = ".".join([*parts, _LEAF.get(last, last)])
    named = re.sub(r"DownsamplingBlock_(\d+)", r"down_blocks.\1", named)
    named = re.sub(r"UpsamplingBlock_(\d+)", r"up_blocks.\1", named)
    named = re.sub(r"ResnetBlock_(\d+)", r"resnets.\1", named).replace("MidBlock_0", "mid_block")
    return named.replace("Downsample_0.Conv_0", "downsamplers.0.conv").replace("Upsample_0.Conv_0", "upsamplers.0.conv")
