"""The vision tokenizer interface: pictures to discrete codes and back, and the static family that makes one.

Owns the two contracts. Reading files and cropping is `video`'s, markers between frames are `tokens`'.
"""

import abc
from pathlib import Path

import equinox as eqx
from equinox import AbstractVar
from jaxtyping import Array, Float, Int32, PRNGKeyArray


class AbstractVisionTokenizer(eqx.Module):
    """Frames to codes and back, frame by frame; pixels in [0, 1], codes in [0, codebook_size).

    The codes of a frame do not depend on which other frames share the batch.
    """

    codebook_size: AbstractVar[int]
    codes_per_frame: AbstractVar[int]
    frame_size: AbstractVar[tuple[int, int]]

    @abc.abstractmethod
    def encode(self, frames: Float[Array, "N Y X 3"]) -> Int32[Array, "N P"]:
        """Codes of each frame in raster order."""

    @abc.abstractmethod
    def decode(self, codes: Int32[Array, "N P"]) -> Float[Array, "N Y X 3"]:
        """Frames, clipped to [0, 1]."""


class AbstractVisionFamily(eqx.Module):
    """The static description of a tokenizer: sizes and nothing learned. `catalog().build` returns this."""

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> AbstractVisionTokenizer:
        """A tokenizer with fresh weights."""

    @abc.abstractmethod
    def restore(self, path: str | Path) -> AbstractVisionTokenizer:
        """A tokenizer with the weights at `path`; raises `ValueError` naming the tensor that does not fit."""
