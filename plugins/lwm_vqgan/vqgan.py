"""The VQGAN as a vision tokenizer: from pixels in [0, 1] to codes and back.

Owns the path through the network in pieces of a fixed number of frames. The family with its options is
`tokenizer`'s; layers, weight files and training are elsewhere.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from lwm_core.vision import AbstractVisionTokenizer
from lwm_core.vision.passport import Passport
from lwm_vqgan.layers import Conv
from lwm_vqgan.network import Decoder, Encoder
from lwm_vqgan.quantize import AbstractQuantizer, Codebook, Embedding, FiniteScalar
from lwm_vqgan.shape import VQGANShape
from lwm_vqgan.weights import digest


GIVEN = "given"


class VQGAN(AbstractVisionTokenizer):
    """Frames to a grid of codes and back. Paths in this tree are the names of the published tensors.

    Memory is bounded by `frames_at_once`, whatever the number of frames; every piece runs in the same compiled
    program, so codes do not depend on which frames share a call. `range_from` says how the pixel range is known.
    """

    encoder: Encoder
    quant_conv: Conv
    quantize: AbstractQuantizer
    post_quant_conv: Conv
    decoder: Decoder
    shape: VQGANShape = eqx.field(static=True)
    frames_at_once: int = eqx.field(static=True)
    codebook_size: int = eqx.field(static=True)
    codes_per_frame: int = eqx.field(static=True)
    frame_size: tuple[int, int] = eqx.field(static=True)
    range_from: str = eqx.field(static=True)

    def __init__(self, shape: VQGANShape, frames_at_once: int, range_from: str = GIVEN, *, key: PRNGKeyArray):
        encoder, quant, codes, post, decoder = jax.random.split(key, 5)
        self.encoder = Encoder(shape, key=encoder)
        self.quant_conv = Conv(shape.code_dim, shape.code_dim, 1, key=quant)
        self.quantize = (
            FiniteScalar(shape.levels)
            if shape.levels
            else Codebook(Embedding(shape.codebook, shape.code_dim, key=codes))
        )
        self.post_quant_conv = Conv(shape.code_dim, shape.code_dim, 1, key=post)
        self.decoder = Decoder(shape, key=decoder)
        self.shape, self.frames_at_once = shape, frames_at_once
        self.codebook_size, self.codes_per_frame = shape.codebook, shape.grid**2
        self.frame_size = (shape.frame, shape.frame)
        self.range_from = range_from

    def encode(self, frames: Float[Array, "N Y X 3"]) -> Int32[Array, "N P"]:
        """Codes of each frame in raster order, from pixels in [0, 1]."""
        if frames.shape[1:] != (*self.frame_size, 3):
            raise ValueError(
                f"Frames of shape {frames.shape}: this tokenizer takes (N, {self.shape.frame}, {self.shape.frame}, "
                f"3). Read them with Sampling(size={self.shape.frame}), or choose another size of tokenizer."
            )
        if not jnp.issubdtype(frames.dtype, jnp.floating):
            raise ValueError(f"Pixels of {frames.dtype}: give floats in [0, 1]; of bytes, frames / 255.")
        return _in_pieces(_encode, self, frames, self.frames_at_once)

    def decode(self, codes: Int32[Array, "N P"]) -> Float[Array, "N Y X 3"]:
        """Frames, clipped to [0, 1]."""
        if codes.shape[1] != self.codes_per_frame:
            raise ValueError(f"{codes.shape[1]} codes per frame: this tokenizer has {self.codes_per_frame}.")
        if codes.size and not isinstance(codes, Tracer):  # under jit nobody can look
            least, most = int(codes.min()), int(codes.max())
            if least < 0 or most >= self.codebook_size:
                raise ValueError(f"Codes from {least} to {most}: this tokenizer has 0 to {self.codebook_size - 1}.")
        return _in_pieces(_decode, self, codes, self.frames_at_once)

    def latents(self, frames: Float[Array, "N Y X 3"]) -> Float[Array, "N Yl Xl D"]:
        """What is quantised, from pixels in [0, 1]."""
        low, high = self.shape.pixel_range
        return self.quant_conv(self.encoder(low + (high - low) * frames))

    def pixels(self, latents: Float[Array, "N Yl Xl D"]) -> Float[Array, "N Y X 3"]:
        """Pixels, 0 black and 1 white, not clipped, from latents or from code vectors."""
        return self.last(self.features(latents))

    def features(self, latents: Float[Array, "N Yl Xl D"]) -> Float[Array, "N Yf Xf C"]:
        """What the decoder's last convolution sees."""
        return self.decoder.features(self.post_quant_conv(latents))

    def last(self, features: Float[Array, "N Yf Xf C"]) -> Float[Array, "N Y X 3"]:
        """Pixels, as those of `pixels`, from what the last convolution sees."""
        low, high = self.shape.pixel_range
        return (self.decoder.last(features) - low) / (high - low)

    def passport(self) -> dict[str, Any]:
        """What its codes mean, as JSON data that tokenised data carries (see `lwm_core.vision.passport`)."""
        return Passport(
            tokenizer="fsq" if self.shape.levels else "vqgan",
            frame=self.frame_size,
            grid=(self.shape.grid, self.shape.grid),
            codebook_size=self.codebook_size,
            pixel_range=self.shape.pixel_range,
            codebook_sha256=digest(
                (self.quantize, np.array(self.shape.levels)) if self.shape.levels else self.quantize
            ),
            encoder_sha256=digest((self.encoder, self.quant_conv)),
        ).meaning()

    def with_sizes(self, *, frames_at_once: int | None = None, range_from: str | None = None, **sizes: Any) -> "VQGAN":
        """The same weights with other fields that no tensor shows; `sizes` are `frame` or `pixel_range`."""
        note = self.range_from if range_from is None else range_from
        other = skeleton(replace(self.shape, **sizes), frames_at_once or self.frames_at_once, note)
        return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(self))


def skeleton(shape: VQGANShape, frames_at_once: int, range_from: str) -> VQGAN:
    """A tokenizer of shapes instead of arrays."""
    return eqx.filter_eval_shape(lambda key: VQGAN(shape, frames_at_once, range_from, key=key), jax.random.key(0))


Run = Callable[[VQGAN, Array | np.ndarray], Array]


def _at_full_precision(run: Callable[[VQGAN, Array], Array]) -> Run:
    def precise(tokenizer, batch):
        with jax.default_matmul_precision("highest"):
            return run(tokenizer, batch)

    return eqx.filter_jit(precise)


@_at_full_precision
def _encode(tokenizer: VQGAN, frames: Float[Array, "N Y X 3"]) -> Int32[Array, "N P"]:
    return tokenizer.quantize.nearest(tokenizer.latents(frames)).reshape(frames.shape[0], -1)


@_at_full_precision
def _decode(tokenizer: VQGAN, codes: Int32[Array, "N P"]) -> Float[Array, "N Y X 3"]:
    grid = tokenizer.shape.grid
    vectors = tokenizer.quantize.lookup(codes).reshape(codes.shape[0], grid, grid, -1)
    return jnp.clip(tokenizer.pixels(vectors), 0, 1)


def _in_pieces(run: Run, tokenizer: VQGAN, batch: Array, size: int) -> Array:
    """`run` over pieces of exactly `size` entries, the last one filled up with zeros.

    Under a trace the pieces are a loop of the program; otherwise a loop on the host, which compiles once for
    every number of frames there may be.
    """
    count = batch.shape[0]
    short = -count % size
    if count == 0:
        return run(tokenizer, jnp.zeros((size, *batch.shape[1:]), batch.dtype))[:0]
    if isinstance(batch, Tracer):
        filled = jnp.pad(batch, [(0, short), *[(0, 0)] * (batch.ndim - 1)])
        pieces = jax.lax.map(lambda piece: run(tokenizer, piece), filled.reshape(-1, size, *batch.shape[1:]))
        return pieces.reshape(count + short, *pieces.shape[2:])[:count]
    host = np.asarray(batch)
    host = np.concatenate([host, np.zeros((short, *host.shape[1:]), host.dtype)])
    pieces = [np.asarray(run(tokenizer, host[at : at + size])) for at in range(0, count, size)]
    return jnp.asarray(np.concatenate(pieces)[:count])
