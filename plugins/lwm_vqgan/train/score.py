"""How good a tokenizer is on frames it never saw: PSNR, SSIM and the share of codes in use.

Owns the definitions. It trains nothing.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from lwm_core.vision import AbstractVisionTokenizer
from lwm_vqgan.train.ssim import ssim


PIECE = 64


@dataclass(frozen=True)
class Score:
    """- `psnr`: mean over frames of each frame's peak signal-to-noise ratio, in dB;
    - `psnr_pooled`: that of the mean square error over all frames, which one easy frame cannot lift;
    - `ssim`: mean over frames of each frame's structural similarity, at most 1;
    - `code_use`: share of the codebook that the frames use at all;
    - `perplexity`: 2 to the entropy of the codes: how many an even use would come to;
    - `frames`: how many there were.
    """

    psnr: float
    psnr_pooled: float
    ssim: float
    code_use: float
    perplexity: float
    frames: int

    def __str__(self) -> str:
        return (
            f"{self.psnr:.2f} dB, pooled {self.psnr_pooled:.2f} dB, SSIM {self.ssim:.3f}, "
            f"{self.code_use:.0%} of the codes, perplexity {self.perplexity:.0f}, {self.frames} frames"
        )


def score(tokenizer: AbstractVisionTokenizer, frames: np.ndarray) -> Score:
    """The score on uint8 frames `[N, Y, X, 3]` of the tokenizer's size."""
    errors, likeness, counts = [], [], np.zeros(tokenizer.codebook_size)
    for start in range(0, len(frames), PIECE):
        pixels = frames[start : start + PIECE].astype(np.float32) / 255
        codes = tokenizer.encode(jnp.asarray(pixels))
        counts += np.bincount(np.asarray(codes).reshape(-1), minlength=len(counts))
        made = np.asarray(tokenizer.decode(codes))
        errors.append(np.square(made - pixels).mean(axis=(1, 2, 3)))
        likeness.append(ssim(made, pixels))
    error = np.concatenate(errors).astype(np.float64)
    share = counts[counts > 0] / counts.sum()
    return Score(
        psnr=float(np.mean(-10 * np.log10(np.maximum(error, 1e-10)))),
        psnr_pooled=float(-10 * np.log10(max(error.mean(), 1e-10))),
        ssim=float(np.concatenate(likeness).mean()),
        code_use=float(np.mean(counts > 0)),
        perplexity=float(2 ** -(share * np.log2(share)).sum()),
        frames=len(frames),
    )
