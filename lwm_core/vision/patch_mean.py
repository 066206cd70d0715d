"""The toy tokenizer: the mean colour of each patch, in levels per channel. Nothing is learned.

Owns the reference that tests and small runs use in place of a trained tokenizer: exact, fast, and bad.
"""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from lwm_core.vision.base import AbstractVisionFamily, AbstractVisionTokenizer


class PatchMean(AbstractVisionTokenizer):
    """Code = the patch's mean colour, `levels` steps per channel, red most significant."""

    patch: int = eqx.field(static=True)
    levels: int = eqx.field(static=True)
    codebook_size: int = eqx.field(static=True)
    codes_per_frame: int = eqx.field(static=True)
    frame_size: tuple[int, int] = eqx.field(static=True)

    def __init__(self, frame: int, patch: int, levels: int):
        self.patch, self.levels = patch, levels
        self.codebook_size, self.codes_per_frame = levels**3, (frame // patch) ** 2
        self.frame_size = (frame, frame)

    def encode(self, frames: Float[Array, "N Y X 3"]) -> Int32[Array, "N P"]:
        """Codes of each frame in raster order, from pixels in [0, 1]."""
        if frames.shape[1:] != (*self.frame_size, 3):
            raise ValueError(
                f"Frames of shape {frames.shape}: give (N, {self.frame_size[0]}, {self.frame_size[1]}, 3)."
            )
        grid = self.frame_size[0] // self.patch
        means = frames.reshape(len(frames), grid, self.patch, grid, self.patch, 3).mean(axis=(2, 4))
        steps = jnp.clip(jnp.floor(means * self.levels), 0, self.levels - 1).astype(jnp.int32)
        codes = (steps[..., 0] * self.levels + steps[..., 1]) * self.levels + steps[..., 2]
        return codes.reshape(len(frames), self.codes_per_frame)

    def decode(self, codes: Int32[Array, "N P"]) -> Float[Array, "N Y X 3"]:
        """Frames of plain squares, each the middle colour of its step."""
        if codes.shape[1] != self.codes_per_frame:
            raise ValueError(f"{codes.shape[1]} codes per frame: this tokenizer has {self.codes_per_frame}.")
        grid = self.frame_size[0] // self.patch
        steps = jnp.stack([codes // self.levels**2, codes // self.levels % self.levels, codes % self.levels], -1)
        colours = ((steps + 0.5) / self.levels).astype(jnp.float32).reshape(len(codes), grid, 1, grid, 1, 3)
        shape = (len(codes), grid, self.patch, grid, self.patch, 3)
        return jnp.broadcast_to(colours, shape).reshape(len(codes), *self.frame_size, 3)


class PatchMeanFamily(AbstractVisionFamily):
    """`frame` pixels on a side, cut into squares of `patch`; `levels` cubed codes."""

    frame: int = eqx.field(static=True, default=32)
    patch: int = eqx.field(static=True, default=8)
    levels: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        if self.patch < 1 or self.frame < 1 or self.frame % self.patch:
            raise ValueError(f"A frame of {self.frame} pixels does not divide into patches of {self.patch}.")
        if self.levels < 2:
            raise ValueError(f"levels={self.levels}: give at least 2 steps per channel.")

    def init(self, *, key: PRNGKeyArray) -> PatchMean:
        """The tokenizer; the key changes nothing, since nothing is learned."""
        return PatchMean(self.frame, self.patch, self.levels)

    def restore(self, path: str | Path) -> PatchMean:
        """Raises `ValueError`: there are no weights to restore."""
        raise ValueError(f"patch-mean has no weights, so nothing at {path} fits it: build it without `weights`.")
