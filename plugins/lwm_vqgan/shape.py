"""The sizes of a VQGAN as plain numbers, the named ones, and what makes a set of sizes valid.

Owns the table of named sizes. It builds nothing and does not import JAX.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class VQGANShape:
    """Every size of the network.

    - `frame`: pixels on a side (frames are square);
    - `channels`: width of each level, highest resolution first; each level but the last halves the size;
    - `blocks`: residual blocks per level of the encoder (the decoder has one more);
    - `codebook`, `code_dim`: how many codes there are and how wide each is;
    - `groups`: of every group norm;
    - `patch`: pixels on a side that are laid into channels before the first convolution. 1 is the published
      network; 2 or 4 drop the costly highest levels, which is what makes training on a CPU affordable;
    - `pixel_range`: what black and white are inside the network; at the interface they are always 0 and 1;
    - `levels`: of finite scalar quantisation, one number a channel of a latent; empty for a learned codebook. The
      product of the levels is `codebook`, their number `code_dim`.
    """

    frame: int
    channels: tuple[int, ...]
    blocks: int
    codebook: int
    code_dim: int
    groups: int
    patch: int
    pixel_range: tuple[float, float]
    levels: tuple[int, ...] = ()

    def __post_init__(self):
        if self.frame < 1 or self.frame % self.downscale:
            raise ValueError(
                f"A frame of {self.frame} pixels does not divide by {self.downscale} (patch {self.patch}, "
                f"{len(self.channels)} levels): give a multiple of {self.downscale}, or fewer channels."
            )
        for width in self.channels:
            if width % self.groups:
                raise ValueError(
                    f"A level of {width} channels does not divide by {self.groups} groups: "
                    "give channels that are multiples of `groups`."
                )
        if self.levels and (math.prod(self.levels), len(self.levels)) != (self.codebook, self.code_dim):
            raise ValueError(
                f"levels={self.levels} make {math.prod(self.levels)} codes of {len(self.levels)} numbers, not "
                f"{self.codebook} of {self.code_dim}: give levels alone."
            )

    @property
    def downscale(self) -> int:
        """Pixels on a side that share one code."""
        return self.patch * 2 ** (len(self.channels) - 1)

    @property
    def grid(self) -> int:
        """Codes on a side of a frame."""
        return self.frame // self.downscale

    def plain(self) -> dict[str, Any]:
        """As JSON data; tuples become lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def of_plain(sizes: dict[str, Any]) -> "VQGANShape":
        """The inverse of `plain`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}
        return VQGANShape(**values)


SIZES = {
    "full": VQGANShape(256, (128, 256, 256, 512, 768), 2, 8192, 64, 32, 1, (-1.0, 1.0)),
    "small": VQGANShape(72, (64, 96), 1, 2048, 16, 8, 3, (-1.0, 1.0)),
    "tiny": VQGANShape(16, (8, 8), 1, 32, 4, 4, 2, (-1.0, 1.0)),
}

# Levels of finite scalar quantisation with about as many codes as the codebook of that size.
FSQ_LEVELS = {"full": (8, 8, 5, 5, 5), "small": (8, 8, 6, 5), "tiny": (8, 4)}
