"""One training step: reconstruction and commitment by gradient, the codebook by moving averages.

Owns the loss and the state. The schedule and the data are `loop`'s.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from lwm_vqgan.tokenizer import VQGAN
from lwm_vqgan.train.codes import CodeUse, restart_dead, update_codes
from lwm_vqgan.train.recipe import TokenizerRecipe


class TokenizerState(eqx.Module):
    """Everything that training changes. `averaged` are the weights that are kept in the end."""

    tokenizer: VQGAN
    averaged: VQGAN
    optimiser: optax.OptState
    use: CodeUse
    step: Int32[Array, ""]


class Losses(eqx.Module):
    """What a step reports: pixel error (mean square, pixels in [0, 1]), commitment, dead codes restarted."""

    pixel: Float[Array, ""]
    commitment: Float[Array, ""]
    restarted: Float[Array, ""]


def optimiser(recipe: TokenizerRecipe) -> optax.GradientTransformation:
    """Adam with a linear start and a cosine to zero."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.warmup_steps, recipe.steps, 0.01 * recipe.learning_rate
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.9, b2=0.99))


def init_state(tokenizer: VQGAN, recipe: TokenizerRecipe) -> TokenizerState:
    codes = tokenizer.quantize.embedding.weight
    use = CodeUse(jnp.ones(len(codes)), codes)
    moments = optimiser(recipe).init(eqx.filter(tokenizer, eqx.is_inexact_array))
    return TokenizerState(tokenizer, tokenizer, moments, use, jnp.zeros((), jnp.int32))


@eqx.filter_jit
def train_step(
    static: tuple[TokenizerRecipe, bool], state: TokenizerState, frames: Float[Array, "N Y X 3"]
) -> tuple[TokenizerState, Losses]:
    """The state after one batch; `static` is the recipe and whether latents are quantised yet."""
    recipe, quantised = static
    (_, (losses, latents, chosen)), gradients = eqx.filter_value_and_grad(_loss, has_aux=True)(
        state.tokenizer, frames, recipe, quantised
    )
    updates, moments = optimiser(recipe).update(gradients, state.optimiser)
    tokenizer = eqx.apply_updates(state.tokenizer, updates)
    use, restarted = state.use, jnp.zeros(())
    if quantised:
        use, restarted = _learn_codes(state, latents, chosen, recipe)
        tokenizer = with_codes(tokenizer, use.codes)
    averaged = _average(state.averaged, tokenizer, state.step, recipe)
    if quantised:
        averaged = with_codes(averaged, use.codes)
    state = TokenizerState(tokenizer, averaged, moments, use, state.step + 1)
    return state, Losses(losses[0], losses[1], restarted)


def with_codes(tokenizer: VQGAN, codes: Float[Array, "K D"]) -> VQGAN:
    return eqx.tree_at(lambda t: t.quantize.embedding.weight, tokenizer, codes)


def _loss(tokenizer: VQGAN, frames: Array, recipe: TokenizerRecipe, quantised: bool):
    latents = tokenizer.latents(frames)
    chosen = tokenizer.quantize.nearest(jax.lax.stop_gradient(latents))
    vectors = jax.lax.stop_gradient(tokenizer.quantize.lookup(chosen))
    # Straight through: the decoder sees the code, the encoder gets the decoder's gradient as it is.
    seen = latents + jax.lax.stop_gradient(vectors - latents) if quantised else latents
    error = tokenizer.pixels(seen) - frames
    pixel, commitment = jnp.mean(jnp.square(error)), jnp.mean(jnp.square(latents - vectors))
    total = recipe.square_weight * pixel + recipe.absolute_weight * jnp.mean(jnp.abs(error))
    if quantised:
        total = total + recipe.commitment * commitment
    dim = latents.shape[-1]
    return total, ((pixel, commitment), jax.lax.stop_gradient(latents).reshape(-1, dim), chosen.reshape(-1))


def _learn_codes(state: TokenizerState, latents: Array, chosen: Array, recipe: TokenizerRecipe):
    use = update_codes(state.use, latents, chosen, decay=recipe.code_decay)
    even = len(chosen) / len(use.counts)
    key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
    alive = state.step >= recipe.restart_until * recipe.steps
    below = jnp.where(alive, -1.0, recipe.restart_below * even)
    dead = jnp.sum(use.counts < below).astype(jnp.float32)
    return restart_dead(use, latents, below=below, count=even, key=key), dead


def _average(averaged: VQGAN, tokenizer: VQGAN, step: Array, recipe: TokenizerRecipe) -> VQGAN:
    """Moving average of the weights, with a shorter memory at the beginning."""
    keep = jnp.minimum(recipe.average, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, averaged, tokenizer)
