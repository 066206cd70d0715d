"""The adversarial loss: a discriminator of patches, hinge losses, and the weight that balances it.

Owns the discriminator and the formulas (Isola et al., arXiv 1611.07004, section 3.2.2; Esser et al., Taming
Transformers, arXiv 2012.09841, section 3.1). When it joins, and what it is added to, is `step`'s.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from lwm_vqgan.layers import Conv, GroupNorm


class Discriminator(eqx.Module):
    """Real or made, judged for every patch: `levels` halvings, then two convolutions, down to one number each.

    Norms are over groups, not over the batch as in the original: a frame's verdict depends on no other frame.
    """

    convs: tuple[Conv, ...]
    norms: tuple[GroupNorm, ...]

    def __init__(self, width: int, levels: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, levels + 2)
        widths = [width * min(2**level, 8) for level in range(levels + 1)]
        around, pairs = ((1, 1), (1, 1)), zip([3, *widths], widths, strict=False)
        self.convs = (
            *(
                Conv(before, after, 4, key=keys[level], stride=2 if level < levels else 1, padding=around)
                for level, (before, after) in enumerate(pairs)
            ),
            Conv(widths[-1], 1, 4, key=keys[-1], padding=around),
        )
        self.norms = tuple(GroupNorm(after, _groups(after)) for after in widths[1:])

    def __call__(self, pixels: Float[Array, "N Y X 3"]) -> Float[Array, "N Yo Xo 1"]:
        x = jax.nn.leaky_relu(self.convs[0](2 * pixels - 1), 0.2)
        for conv, norm in zip(self.convs[1:-1], self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(conv(x)), 0.2)
        return self.convs[-1](x)


def smallest_frame(levels: int) -> int:
    """Pixels on a side that a discriminator of so many halvings needs."""
    return 3 * 2**levels


def discriminator_loss(real: Float[Array, "*n"], made: Float[Array, "*n"]) -> Float[Array, ""]:
    """Hinge: real ones above 1, made ones below -1."""
    return 0.5 * (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made)))


def generator_loss(made: Float[Array, "*n"]) -> Float[Array, ""]:
    return -jnp.mean(made)


def balance(reconstruction: Float[Array, "..."], adversarial: Float[Array, "..."]) -> Float[Array, ""]:
    """What the adversarial loss is multiplied by, from both gradients at the decoder's last weight."""
    ratio = jnp.linalg.norm(reconstruction) / (jnp.linalg.norm(adversarial) + 1e-4)
    return jax.lax.stop_gradient(jnp.clip(ratio, 0, 1e4))


def _groups(channels: int) -> int:
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0)
