"""What a tokenizer's weights are moved by: reconstruction, commitment, perceptual and adversarial terms.

Owns the sum and how each term is weighed. Codes are learned without gradients (`codes`), steps are `step`'s.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from lwm_vqgan.train.adversarial import Discriminator, balance, generator_loss
from lwm_vqgan.train.perceptual import Perceptual
from lwm_vqgan.train.recipe import TokenizerRecipe
from lwm_vqgan.vqgan import VQGAN


class Judges(eqx.Module):
    """The networks that judge pictures; neither is changed by the tokenizer's gradient."""

    perceptual: Perceptual | None = None
    discriminator: Discriminator | None = None


@dataclass(frozen=True)
class Phase:
    """What is on at a step: whether latents are quantised, and whether the discriminator has joined."""

    quantised: bool
    adversarial: bool


class Terms(eqx.Module):
    """Every term before its weight (NaN for one that is off), and what else a step needs from the forward."""

    pixel: Float[Array, ""]
    commitment: Float[Array, ""]
    perceptual: Float[Array, ""]
    adversarial: Float[Array, ""]
    latents: Float[Array, "M D"]
    chosen: Int32[Array, " M"]
    made: Float[Array, "N Y X 3"]


def tokenizer_loss(
    tokenizer: VQGAN, frames: Float[Array, "N Y X 3"], judges: Judges, recipe: TokenizerRecipe, phase: Phase
) -> tuple[Float[Array, ""], Terms]:
    """The weighed sum, and its terms."""
    latents = tokenizer.latents(frames)
    chosen = tokenizer.quantize.nearest(jax.lax.stop_gradient(latents))
    vectors = jax.lax.stop_gradient(tokenizer.quantize.lookup(chosen))
    # Straight through: the decoder sees the code, the encoder gets the decoder's gradient as it is.
    smooth = tokenizer.quantize.smooth(latents)
    seen = smooth + jax.lax.stop_gradient(vectors - smooth) if phase.quantised else smooth
    features = tokenizer.features(seen)
    made = tokenizer.last(features)
    error = made - frames
    pixel, commitment = jnp.mean(jnp.square(error)), jnp.mean(jnp.square(smooth - vectors))
    total = recipe.square_weight * pixel + recipe.absolute_weight * jnp.mean(jnp.abs(error))
    if phase.quantised and not tokenizer.shape.levels:
        total = total + recipe.commitment * commitment
    perceptual = adversarial = jnp.full((), jnp.nan)
    if judges.perceptual is not None:
        perceptual = jnp.mean(judges.perceptual(made, frames))
        total = total + recipe.perceptual_weight * perceptual
    if phase.adversarial:
        adversarial = generator_loss(_verdict(judges, made))
        weight = _balance(tokenizer, jax.lax.stop_gradient(features), frames, judges, recipe)
        total = total + recipe.adversarial_weight * weight * adversarial
    kept = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1]), chosen.reshape(-1)
    return total, Terms(pixel, commitment, perceptual, adversarial, *kept, jax.lax.stop_gradient(made))


def _balance(tokenizer: VQGAN, features: Array, frames: Array, judges: Judges, recipe: TokenizerRecipe) -> Array:
    """How much steeper the reconstruction is than the discriminator at the decoder's last weight."""

    def made_by(weight: Array) -> Array:
        return eqx.tree_at(lambda t: t.decoder.conv_out.weight, tokenizer, weight).last(features)

    def reconstruction(weight: Array) -> Array:
        made = made_by(weight)
        total = recipe.square_weight * jnp.mean(jnp.square(made - frames))
        total = total + recipe.absolute_weight * jnp.mean(jnp.abs(made - frames))
        if judges.perceptual is not None:
            total = total + recipe.perceptual_weight * jnp.mean(judges.perceptual(made, frames))
        return total

    def adversarial(weight: Array) -> Array:
        return generator_loss(_verdict(judges, made_by(weight)))

    weight = jax.lax.stop_gradient(tokenizer.decoder.conv_out.weight)
    return balance(jax.grad(reconstruction)(weight), jax.grad(adversarial)(weight))


def _verdict(judges: Judges, pixels: Array) -> Array:
    if judges.discriminator is None:
        raise ValueError("The adversarial phase needs a discriminator.")
    return judges.discriminator(pixels)
