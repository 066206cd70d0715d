"""The encoder and the decoder of the VQGAN, at any size.

Owns how blocks follow one another. At the full size this is exactly the network of aMUSEd and LWM (no
attention, one middle block of two residual blocks, one residual block more per level in the decoder).
"""

from collections.abc import Iterator

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from lwm_vqgan.layers import Conv, Downsample, GroupNorm, ResnetBlock, Upsample, fold, unfold
from lwm_vqgan.shape import VQGANShape


class MidBlock(eqx.Module):
    """Two residual blocks at the lowest resolution."""

    resnets: tuple[ResnetBlock, ...]

    def __init__(self, channels: int, groups: int, keys: Iterator[PRNGKeyArray]):
        self.resnets = tuple(ResnetBlock(channels, channels, groups, key=next(keys)) for _ in range(2))

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Y X C"]:
        for resnet in self.resnets:
            x = resnet(x)
        return x


class DownBlock(eqx.Module):
    """One level of the encoder: residual blocks, then half the size except at the last level."""

    resnets: tuple[ResnetBlock, ...]
    downsamplers: tuple[Downsample, ...]

    def __init__(self, widths: list[int], groups: int, last: bool, keys: Iterator[PRNGKeyArray]):
        self.resnets = _resnets(widths, groups, keys)
        self.downsamplers = () if last else (Downsample(widths[-1], key=next(keys)),)

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Yo Xo O"]:
        for part in (*self.resnets, *self.downsamplers):
            x = part(x)
        return x


class UpBlock(eqx.Module):
    """One level of the decoder: residual blocks, then twice the size except at the last level."""

    resnets: tuple[ResnetBlock, ...]
    upsamplers: tuple[Upsample, ...]

    def __init__(self, widths: list[int], groups: int, last: bool, keys: Iterator[PRNGKeyArray]):
        self.resnets = _resnets(widths, groups, keys)
        self.upsamplers = () if last else (Upsample(widths[-1], key=next(keys)),)

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Yo Xo O"]:
        for part in (*self.resnets, *self.upsamplers):
            x = part(x)
        return x


class Encoder(eqx.Module):
    """Pixels to latents, one latent for every f×f pixels."""

    conv_in: Conv
    down_blocks: tuple[DownBlock, ...]
    mid_block: MidBlock
    conv_norm_out: GroupNorm
    conv_out: Conv
    patch: int = eqx.field(static=True)

    def __init__(self, shape: VQGANShape, *, key: PRNGKeyArray):
        keys, widths = _keys(key), shape.channels
        self.patch = shape.patch
        self.conv_in = Conv(3 * shape.patch**2, widths[0], key=next(keys))
        self.down_blocks = tuple(
            DownBlock([before, *[width] * shape.blocks], shape.groups, level == len(widths) - 1, keys)
            for level, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.mid_block = MidBlock(widths[-1], shape.groups, keys)
        self.conv_norm_out = GroupNorm(widths[-1], shape.groups)
        self.conv_out = Conv(widths[-1], shape.code_dim, key=next(keys))

    def __call__(self, pixels: Float[Array, "N Y X 3"]) -> Float[Array, "N Yl Xl D"]:
        x = self.conv_in(fold(pixels, self.patch))
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(eqx.Module):
    """Latents to pixels, not clipped."""

    conv_in: Conv
    mid_block: MidBlock
    up_blocks: tuple[UpBlock, ...]
    conv_norm_out: GroupNorm
    conv_out: Conv
    patch: int = eqx.field(static=True)

    def __init__(self, shape: VQGANShape, *, key: PRNGKeyArray):
        keys, widths = _keys(key), shape.channels[::-1]
        self.patch = shape.patch
        self.conv_in = Conv(shape.code_dim, widths[0], key=next(keys))
        self.mid_block = MidBlock(widths[0], shape.groups, keys)
        self.up_blocks = tuple(
            UpBlock([before, *[width] * (shape.blocks + 1)], shape.groups, level == len(widths) - 1, keys)
            for level, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.conv_norm_out = GroupNorm(widths[-1], shape.groups)
        self.conv_out = Conv(widths[-1], 3 * shape.patch**2, key=next(keys))

    def __call__(self, latents: Float[Array, "N Yl Xl D"]) -> Float[Array, "N Y X 3"]:
        return self.last(self.features(latents))

    def features(self, latents: Float[Array, "N Yl Xl D"]) -> Float[Array, "N Yf Xf C"]:
        """What the last convolution sees."""
        x = self.mid_block(self.conv_in(latents))
        for block in self.up_blocks:
            x = block(x)
        return jax.nn.silu(self.conv_norm_out(x))

    def last(self, features: Float[Array, "N Yf Xf C"]) -> Float[Array, "N Y X 3"]:
        """The last convolution, and patches laid out as pixels."""
        return unfold(self.conv_out(features), self.patch)


def _resnets(widths: list[int], groups: int, keys: Iterator[PRNGKeyArray]) -> tuple[ResnetBlock, ...]:
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return tuple(ResnetBlock(before, after, groups, key=next(keys)) for before, after in pairs)


def _keys(key: PRNGKeyArray) -> Iterator[PRNGKeyArray]:
    while True:
        key, one = jax.random.split(key)
        yield one
