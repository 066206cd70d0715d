"""One training step: the tokenizer by gradient, the codebook by moving averages, the discriminator against both.

Owns the state and its update. Losses are `losses`', the schedule and the data `loop`'s.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from lwm_vqgan.quantize import Codebook
from lwm_vqgan.train.adversarial import Discriminator, discriminator_loss, smallest_frame
from lwm_vqgan.train.codes import CodeUse, restart_dead, update_codes
from lwm_vqgan.train.losses import Judges, Phase, Terms, tokenizer_loss
from lwm_vqgan.train.perceptual import Perceptual
from lwm_vqgan.train.recipe import TokenizerRecipe
from lwm_vqgan.vqgan import VQGAN


class Adversary(eqx.Module):
    """The discriminator and its optimiser."""

    discriminator: Discriminator
    optimiser: optax.OptState


class TokenizerState(eqx.Module):
    """Everything that training changes. `averaged` are the weights that are kept in the end; `use` is None without a
    codebook, `adversary` without an adversarial loss."""

    tokenizer: VQGAN
    averaged: VQGAN
    optimiser: optax.OptState
    use: CodeUse | None
    adversary: Adversary | None
    step: Int32[Array, ""]


class Losses(eqx.Module):
    """What a step reports; NaN for what is off.

    `pixel`: mean square error, pixels in [0, 1]; `commitment`: mean squared distance of a latent to its code;
    `perceptual`: LPIPS; `adversarial`, `discriminator`: hinge losses; `restarted`: dead codes that began again.
    """

    pixel: Float[Array, ""]
    commitment: Float[Array, ""]
    perceptual: Float[Array, ""]
    adversarial: Float[Array, ""]
    discriminator: Float[Array, ""]
    restarted: Float[Array, ""]


def optimiser(recipe: TokenizerRecipe) -> optax.GradientTransformation:
    """Adam with a linear start and a cosine to zero."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.warmup_steps, recipe.steps, 0.01 * recipe.learning_rate
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.9, b2=0.99))


def adversary_optimiser(recipe: TokenizerRecipe) -> optax.GradientTransformation:
    return optax.adam(recipe.adversarial_rate, b1=0.5, b2=0.9)


def init_state(tokenizer: VQGAN, recipe: TokenizerRecipe) -> TokenizerState:
    """The state before the first step; raises `ValueError` for frames too small for the discriminator."""
    use, adversary = None, None
    if isinstance(tokenizer.quantize, Codebook):
        codes = tokenizer.quantize.embedding.weight
        use = CodeUse(jnp.ones(len(codes)), codes)
    if recipe.adversarial_weight:
        adversary = _init_adversary(tokenizer.shape.frame, recipe)
    moments = optimiser(recipe).init(eqx.filter(tokenizer, eqx.is_inexact_array))
    return TokenizerState(tokenizer, tokenizer, moments, use, adversary, jnp.zeros((), jnp.int32))


def _init_adversary(frame: int, recipe: TokenizerRecipe) -> Adversary:
    least = smallest_frame(recipe.adversarial_levels)
    if frame < least:
        raise ValueError(
            f"adversarial_levels={recipe.adversarial_levels} needs frames of {least} pixels, these have {frame}: "
            "give fewer levels."
        )
    key = jax.random.key(recipe.seed + 2)
    discriminator = Discriminator(recipe.adversarial_width, recipe.adversarial_levels, key=key)
    moments = adversary_optimiser(recipe).init(eqx.filter(discriminator, eqx.is_inexact_array))
    return Adversary(discriminator, moments)


@eqx.filter_jit
def train_step(
    static: tuple[TokenizerRecipe, Phase],
    state: TokenizerState,
    frames: Float[Array, "N Y X 3"],
    perceptual: Perceptual | None = None,
) -> tuple[TokenizerState, Losses]:
    """The state after one batch; `static` is the recipe and the phase."""
    recipe, phase = static
    judges = Judges(perceptual, state.adversary.discriminator if state.adversary else None)
    (_, terms), gradients = eqx.filter_value_and_grad(tokenizer_loss, has_aux=True)(
        state.tokenizer, frames, judges, recipe, phase
    )
    updates, moments = optimiser(recipe).update(gradients, state.optimiser)
    tokenizer = eqx.apply_updates(state.tokenizer, updates)
    use, restarted = state.use, jnp.zeros(())
    if phase.quantised and use is not None:
        use, restarted = _learn_codes(use, state.step, terms, recipe)
        tokenizer = with_codes(tokenizer, use.codes)
    averaged = _average(state.averaged, tokenizer, state.step, recipe)
    if phase.quantised and use is not None:
        averaged = with_codes(averaged, use.codes)
    adversary, judged = state.adversary, jnp.full((), jnp.nan)
    if phase.adversarial and adversary is not None:
        adversary, judged = _learn_to_judge(adversary, frames, terms.made, recipe)
    state = TokenizerState(tokenizer, averaged, moments, use, adversary, state.step + 1)
    return state, Losses(terms.pixel, terms.commitment, terms.perceptual, terms.adversarial, judged, restarted)


def with_codes(tokenizer: VQGAN, codes: Float[Array, "K D"]) -> VQGAN:
    return eqx.tree_at(lambda t: t.quantize.embedding.weight, tokenizer, codes)


def _learn_codes(use: CodeUse, step: Array, terms: Terms, recipe: TokenizerRecipe) -> tuple[CodeUse, Array]:
    use = update_codes(use, terms.latents, terms.chosen, decay=recipe.code_decay)
    even = len(terms.chosen) / len(use.counts)
    key = jax.random.fold_in(jax.random.key(recipe.seed), step)
    alive = step >= recipe.restart_until * recipe.steps
    below = jnp.where(alive, -1.0, recipe.restart_below * even)
    dead = jnp.sum(use.counts < below).astype(jnp.float32)
    return restart_dead(use, terms.latents, below=below, count=even, key=key), dead


def _learn_to_judge(adversary: Adversary, real: Array, made: Array, recipe: TokenizerRecipe) -> tuple[Adversary, Array]:
    def loss(discriminator: Discriminator) -> Array:
        return discriminator_loss(discriminator(real), discriminator(made))

    judged, gradients = eqx.filter_value_and_grad(loss)(adversary.discriminator)
    updates, moments = adversary_optimiser(recipe).update(gradients, adversary.optimiser)
    return Adversary(eqx.apply_updates(adversary.discriminator, updates), moments), judged


def _average(averaged: VQGAN, tokenizer: VQGAN, step: Array, recipe: TokenizerRecipe) -> VQGAN:
    """Moving average of the weights, with a shorter memory at the beginning."""
    keep = jnp.minimum(recipe.average, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, averaged, tokenizer)
