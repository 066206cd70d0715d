"""The sizes of a VQGAN from its tensors, and from the configuration files of diffusers and open-muse.

Owns what each says and every refusal of a network that is not this one. Groups of a group norm and the size of a
frame cannot be seen in tensors.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def sizes_of_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Channels, blocks, codebook, code width and patch, by tensors under their published names."""
    attention = sorted(name for name in tensors if "attn" in name or "attention" in name)
    if attention:
        raise ValueError(f"{path} holds attention ({attention[0]}): the VQGAN of aMUSEd and LWM has none.")
    widths = []
    while (name := f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight") in tensors:
        widths.append(int(tensors[name].shape[0]))
    shapes = {name: tensors[name].shape for name in _TOLD_BY if name in tensors}
    if not widths or len(shapes) < len(_TOLD_BY):
        missing = sorted(set(_TOLD_BY) - set(shapes)) or ["encoder.down_blocks.0.resnets.0.conv1.weight"]
        raise ValueError(f"{path} holds no VQGAN of a known kind: there is no {missing[0]} among its tensors.")
    (codebook, code_dim), (latent, *_), (_, colours, *_) = (shapes[name] for name in _TOLD_BY)
    if latent != code_dim:
        raise ValueError(
            f"{path}: latents of {latent} channels with codes of {code_dim}: this network needs them equal."
        )
    blocks = {int(n[1]) for name in tensors if (n := re.match(r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", name))}
    patch = math.isqrt(colours // 3)
    if 3 * patch**2 != colours:
        raise ValueError(f"{path}: a first convolution of {colours} channels: pictures have 3.")
    return {
        "channels": tuple(widths),
        "blocks": len(blocks),
        "codebook": int(codebook),
        "code_dim": int(code_dim),
        "patch": patch,
    }


_TOLD_BY = ("quantize.embedding.weight", "encoder.conv_out.weight", "encoder.conv_in.weight")

# What a diffusers config leaves out has diffusers' own default; each of these must be what this network is.
_MUST_BE = {
    "in_channels": (3, 3),
    "out_channels": (3, 3),
    "act_fn": ("silu", "silu"),
    "norm_type": ("group", "group"),
    "mid_block_add_attention": (True, False),
}


def sizes_of_diffusers(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Of a `VQModel`'s config.json. Its `sample_size` is not a frame (aMUSEd's says 32 for 256 pixels): left out."""
    for name, (default, needed) in _MUST_BE.items():
        if config.get(name, default) != needed:
            raise ValueError(
                f"{path}: {name} is {config.get(name, default)!r}; the VQGAN of aMUSEd and LWM, and this one, has "
                f"{needed!r}. Another VQModel cannot be read."
            )
    for name, needed in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        if set(config.get(name, [needed])) != {needed}:
            raise ValueError(f"{path}: {name} is {config[name]}; only {needed} is in this network.")
    latent = config.get("latent_channels", 3)
    code = latent if config.get("vq_embed_dim") is None else config["vq_embed_dim"]
    if latent != code:
        raise ValueError(f"{path}: latent_channels {latent} and vq_embed_dim {code}: this network needs them equal.")
    return {
        "channels": tuple(config.get("block_out_channels", (64,))),
        "blocks": config.get("layers_per_block", 1),
        "codebook": config.get("num_vq_embeddings", 256),
        "code_dim": code,
        "groups": config.get("norm_num_groups", 32),
        "patch": 1,
    }


def diffusers_of_sizes(shape: Any) -> dict[str, Any]:
    """The config.json of a `VQModel` of these sizes (a `VQGANShape`); raises `ValueError` where there is none."""
    if shape.patch != 1:
        raise ValueError(
            f"A VQGAN with patch={shape.patch} is no VQModel of diffusers, which lays no pixels into channels: "
            "keep it as our own file (.safetensors), or train one with patch=1."
        )
    levels = len(shape.channels)
    return {
        "_class_name": "VQModel",
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "block_out_channels": list(shape.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": False,
        "in_channels": 3,
        "latent_channels": shape.code_dim,
        "layers_per_block": shape.blocks,
        "lookup_from_codebook": True,
        "mid_block_add_attention": False,
        "norm_num_groups": shape.groups,
        "norm_type": "group",
        "num_vq_embeddings": shape.codebook,
        "out_channels": 3,
        "sample_size": shape.frame,
        "scaling_factor": 0.18215,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "vq_embed_dim": None,
    }
