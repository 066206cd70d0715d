"""The layers of the VQGAN: convolution, group norm, residual block, down- and upsampling.

Owns the arithmetic details that make the network exact to aMUSEd's: group norm with eps 1e-6, padding on the
right and bottom only before the stride-2 convolution, nearest-neighbour ×2 before the upsampling one. Fields
carry the names of the published tensors, so a path in the tree is a name in a weight file. Activations are
N Y X C (the fastest order on CPU), weights O I Ky Kx (as published).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


EPSILON = 1e-6
LAYOUT = ("NHWC", "OIHW", "NHWC")


class Conv(eqx.Module):
    """A convolution with a bias; `padding` is ((top, bottom), (left, right))."""

    weight: Float[Array, "O I Ky Kx"]
    bias: Float[Array, " O"]
    stride: int = eqx.field(static=True)
    padding: tuple[tuple[int, int], tuple[int, int]] = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        *,
        key: PRNGKeyArray,
        stride: int = 1,
        padding: tuple[tuple[int, int], tuple[int, int]] | None = None,
    ):
        bound = (3 / (channels * kernel * kernel)) ** 0.5
        self.weight = jax.random.uniform(key, (out, channels, kernel, kernel), minval=-bound, maxval=bound)
        self.bias = jnp.zeros(out)
        self.stride = stride
        half = kernel // 2
        self.padding = padding or ((half, half), (half, half))

    def __call__(self, x: Float[Array, "N Y X I"]) -> Float[Array, "N Yo Xo O"]:
        strides = (self.stride, self.stride)
        out = jax.lax.conv_general_dilated(x, self.weight, strides, self.padding, dimension_numbers=LAYOUT)
        return out + self.bias


class GroupNorm(eqx.Module):
    """Group norm over a frame: statistics of each group of channels over all its pixels."""

    weight: Float[Array, " C"]
    bias: Float[Array, " C"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, groups: int):
        if channels % groups:
            raise ValueError(f"{channels} channels do not divide by {groups} groups: give groups that divide.")
        self.weight, self.bias, self.groups = jnp.ones(channels), jnp.zeros(channels), groups

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Y X C"]:
        # Channels are summed over pixels first and grouped after: on CPU that is far faster than reducing a
        # five-dimensional view. Two passes, since E[x²] - E[x]² loses digits where the mean is large.
        centred = x - self._grouped(jnp.mean(x, axis=(1, 2)))
        variance = self._grouped(jnp.mean(jnp.square(centred), axis=(1, 2)))
        return centred * (jax.lax.rsqrt(variance + EPSILON) * self.weight) + self.bias

    def _grouped(self, per_channel: Float[Array, "N C"]) -> Float[Array, "N 1 1 C"]:
        frames, channels = per_channel.shape
        means = per_channel.reshape(frames, self.groups, -1).mean(axis=-1)
        return jnp.repeat(means, channels // self.groups, axis=-1)[:, None, None, :]


class ResnetBlock(eqx.Module):
    """norm, SiLU, conv, twice, added to the input (through a 1×1 convolution where the width changes)."""

    norm1: GroupNorm
    conv1: Conv
    norm2: GroupNorm
    conv2: Conv
    conv_shortcut: Conv | None

    def __init__(self, channels: int, out: int, groups: int, *, key: PRNGKeyArray):
        first, second, shortcut = jax.random.split(key, 3)
        self.norm1, self.conv1 = GroupNorm(channels, groups), Conv(channels, out, key=first)
        self.norm2, self.conv2 = GroupNorm(out, groups), Conv(out, out, key=second)
        self.conv_shortcut = None if channels == out else Conv(channels, out, 1, key=shortcut)

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Y X O"]:
        out = self.conv1(jax.nn.silu(self.norm1(x)))
        out = self.conv2(jax.nn.silu(self.norm2(out)))
        return out + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(eqx.Module):
    """Half the size: one row and column of zeros on the bottom and the right, then stride 2."""

    conv: Conv

    def __init__(self, channels: int, *, key: PRNGKeyArray):
        self.conv = Conv(channels, channels, key=key, stride=2, padding=((0, 1), (0, 1)))

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Y/2 X/2 C"]:
        return self.conv(x)


class Upsample(eqx.Module):
    """Twice the size: every pixel four times, then a convolution."""

    conv: Conv

    def __init__(self, channels: int, *, key: PRNGKeyArray):
        self.conv = Conv(channels, channels, key=key)

    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N 2*Y 2*X C"]:
        frames, rows, columns, channels = x.shape
        shape = (frames, rows, 2, columns, 2, channels)
        doubled = jnp.broadcast_to(x[:, :, None, :, None, :], shape)
        return self.conv(doubled.reshape(frames, 2 * rows, 2 * columns, channels))


def fold(x: Float[Array, "N Y X C"], patch: int) -> Float[Array, "N Y/{patch} X/{patch} C*{patch}*{patch}"]:
    """Pixels of each patch laid into channels."""
    if patch == 1:
        return x
    frames, rows, columns, channels = x.shape
    x = x.reshape(frames, rows // patch, patch, columns // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(frames, rows // patch, columns // patch, -1)


def unfold(x: Float[Array, "N Y X C"], patch: int) -> Float[Array, "N Y*{patch} X*{patch} C/({patch}*{patch})"]:
    """The inverse of `fold`."""
    if patch == 1:
        return x
    frames, rows, columns, channels = x.shape
    x = x.reshape(frames, rows, columns, patch, patch, channels // patch**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(frames, rows * patch, columns * patch, -1)
