"""The VQGAN as a vision tokenizer, and its static family.

Owns the path from pixels in [0, 1] to codes and back, in pieces of a fixed number of frames, and the options
of the family. Layers, weight files and training are elsewhere.
"""

from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from lwm_core.vision import AbstractVisionFamily, AbstractVisionTokenizer
from lwm_vqgan.layers import Conv
from lwm_vqgan.network import Decoder, Encoder
from lwm_vqgan.quantize import Codebook, Embedding
from lwm_vqgan.shape import SIZES, VQGANShape
from lwm_vqgan.weights import fill, read_weights


class VQGAN(AbstractVisionTokenizer):
    """Frames to a grid of codes and back. Paths in this tree are the names of the published tensors.

    Memory is bounded by `frames_at_once`, whatever the number of frames; every piece runs in the same compiled
    program, so codes do not depend on which frames share a call.
    """

    encoder: Encoder
    quant_conv: Conv
    quantize: Codebook
    post_quant_conv: Conv
    decoder: Decoder
    shape: VQGANShape = eqx.field(static=True)
    frames_at_once: int = eqx.field(static=True)
    codebook_size: int = eqx.field(static=True)
    codes_per_frame: int = eqx.field(static=True)
    frame_size: tuple[int, int] = eqx.field(static=True)

    def __init__(self, shape: VQGANShape, frames_at_once: int, *, key: PRNGKeyArray):
        encoder, quant, codes, post, decoder = jax.random.split(key, 5)
        self.encoder = Encoder(shape, key=encoder)
        self.quant_conv = Conv(shape.code_dim, shape.code_dim, 1, key=quant)
        self.quantize = Codebook(Embedding(shape.codebook, shape.code_dim, key=codes))
        self.post_quant_conv = Conv(shape.code_dim, shape.code_dim, 1, key=post)
        self.decoder = Decoder(shape, key=decoder)
        self.shape, self.frames_at_once = shape, frames_at_once
        self.codebook_size, self.codes_per_frame = shape.codebook, shape.grid**2
        self.frame_size = (shape.frame, shape.frame)

    def encode(self, frames: Float[Array, "N Y X 3"]) -> Int32[Array, "N P"]:
        """Codes of each frame in raster order, from pixels in [0, 1]."""
        if frames.shape[1:] != (*self.frame_size, 3):
            raise ValueError(
                f"Frames of shape {frames.shape}: this tokenizer takes (N, {self.shape.frame}, {self.shape.frame}, "
                f"3). Read them with Sampling(size={self.shape.frame}), or choose another size of tokenizer."
            )
        return _in_pieces(_encode, self, frames, self.frames_at_once)

    def decode(self, codes: Int32[Array, "N P"]) -> Float[Array, "N Y X 3"]:
        """Frames, clipped to [0, 1]."""
        if codes.shape[1] != self.codes_per_frame:
            raise ValueError(f"{codes.shape[1]} codes per frame: this tokenizer has {self.codes_per_frame}.")
        return _in_pieces(_decode, self, codes, self.frames_at_once)

    def latents(self, frames: Float[Array, "N Y X 3"]) -> Float[Array, "N Yl Xl D"]:
        """What is quantised, from pixels in [0, 1]."""
        low, high = self.shape.pixel_range
        return self.quant_conv(self.encoder(low + (high - low) * frames))

    def pixels(self, latents: Float[Array, "N Yl Xl D"]) -> Float[Array, "N Y X 3"]:
        """Pixels, 0 black and 1 white, not clipped, from latents or from code vectors."""
        low, high = self.shape.pixel_range
        return (self.decoder(self.post_quant_conv(latents)) - low) / (high - low)


class VQGANFamily(AbstractVisionFamily):
    """A VQGAN by a named size; anything else that is given overrides that size's value.

    The default is the tokenizer of LWM and aMUSEd: 256 pixels, 16×16 codes of 8192. The other options are as
    in `VQGANShape`; `frames_at_once` bounds memory while encoding and decoding.
    """

    size: str = eqx.field(static=True, default="full")
    frame: int | None = eqx.field(static=True, default=None)
    channels: tuple[int, ...] | None = eqx.field(static=True, default=None)
    blocks: int | None = eqx.field(static=True, default=None)
    codebook: int | None = eqx.field(static=True, default=None)
    code_dim: int | None = eqx.field(static=True, default=None)
    groups: int | None = eqx.field(static=True, default=None)
    patch: int | None = eqx.field(static=True, default=None)
    pixel_range: tuple[float, float] | None = eqx.field(static=True, default=None)
    frames_at_once: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        if self.frames_at_once < 1:
            raise ValueError(f"frames_at_once={self.frames_at_once}: give 1 or more.")
        self.shape  # noqa: B018 (an option that does not fit is an error now, not at the first use)

    @property
    def shape(self) -> VQGANShape:
        """Every size in numbers."""
        if self.size not in SIZES:
            raise ValueError(f"No VQGAN size {self.size!r}: give one of {', '.join(SIZES)}, and override from there.")
        names = ("frame", "channels", "blocks", "codebook", "code_dim", "groups", "patch", "pixel_range")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return VQGANShape(**{**SIZES[self.size].__dict__, **given})

    def init(self, *, key: PRNGKeyArray) -> VQGAN:
        return VQGAN(self.shape, self.frames_at_once, key=key)

    def restore(self, path: str | Path) -> VQGAN:
        """The tokenizer with the weights at `path`. Raises `FileNotFoundError`, or `ValueError` naming the size or
        the tensor that does not fit."""
        weights = read_weights(Path(path))
        if weights.shape is not None:
            _same_shape(self.shape, weights.shape, path)
        return fill(eqx.filter_eval_shape(self.init, key=jax.random.key(0)), weights.tensors, path)


def _same_shape(asked: VQGANShape, found: VQGANShape, path: str | Path) -> None:
    differing = {k: (v, found.__dict__[k]) for k, v in asked.__dict__.items() if found.__dict__[k] != v}
    if not differing:
        return
    named = next((f"size={name!r}" for name, shape in SIZES.items() if shape == found), None)
    fix = named or ", ".join(f"{name}={there!r}" for name, (_, there) in differing.items())
    told = "; ".join(f"{name} is {there!r}, not {here!r}" for name, (here, there) in differing.items())
    raise ValueError(f"{path} holds a VQGAN of another size: {told}. Build the family with {fix}.")


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
