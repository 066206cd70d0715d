"""The training loop of a tokenizer: plain autoencoder, k-means, then codes, then the discriminator.

Owns the order of the phases and the batches. The step is `step`'s; files and progress are `trainer`'s.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.vision import AbstractVisionFamily
from lwm_vqgan.train.bank import FrameBank
from lwm_vqgan.train.codes import start_codes
from lwm_vqgan.train.losses import Phase
from lwm_vqgan.train.perceptual import Perceptual
from lwm_vqgan.train.recipe import TokenizerRecipe
from lwm_vqgan.train.score import score
from lwm_vqgan.train.step import Losses, TokenizerState, init_state, train_step, with_codes
from lwm_vqgan.vqgan import VQGAN


FIRST_FRAMES = 256  # whose latents start the codebook


def train_tokenizer(
    family: AbstractVisionFamily,
    bank: FrameBank,
    recipe: TokenizerRecipe,
    *,
    held_out: np.ndarray | None = None,
    perceptual: Perceptual | None = None,
    report: Callable[[str], None] = print,
    every: int = 100,
    score_every: int = 1000,
) -> VQGAN:
    """A tokenizer of this family (`VQGANFamily` or `FSQFamily`) trained on `bank`, deterministic by `recipe.seed`.

    `report` gets a line with losses every `every` steps, and one with the score on `held_out` (uint8 frames of
    the tokenizer's size) every `score_every`. Nothing is written.
    """
    first = first_state(family, recipe)
    recent, began, state = [], time.monotonic(), first
    for done, (state, losses) in enumerate(steps(first, bank, recipe, perceptual), 1):
        recent.append(losses)
        if done % every == 0 or done == recipe.steps:
            left = (time.monotonic() - began) / done * (recipe.steps - done)
            report(f"step {done}/{recipe.steps}  {told(means(recent))}  {left:.0f} s left")
            recent = []
        if held_out is not None and done > recipe.plain_steps and (done % score_every == 0 or done == recipe.steps):
            report(f"  held out: {score(state.averaged, held_out)}")
    return state.averaged


def first_state(family: AbstractVisionFamily, recipe: TokenizerRecipe) -> TokenizerState:
    """The state before the first step; raises `ValueError` for a tokenizer that this recipe cannot train."""
    tokenizer = family.init(key=jax.random.key(recipe.seed))
    if not isinstance(tokenizer, VQGAN):
        raise ValueError(f"{type(family).__name__} makes a {type(tokenizer).__name__}: only vqgan and fsq learn here.")
    return init_state(tokenizer, recipe)


def steps(
    state: TokenizerState, bank: FrameBank, recipe: TokenizerRecipe, perceptual: Perceptual | None = None
) -> Iterator[tuple[TokenizerState, Losses]]:
    """Each step's state and losses, from where `state` stands to the end. What a step draws depends on its number and
    the seed alone, so that going on from a saved state is the same as never having stopped."""
    if recipe.perceptual_weight and perceptual is None:
        raise ValueError(f"perceptual_weight={recipe.perceptual_weight:g} needs the weights of VGG16 and LPIPS.")
    judged_by = perceptual if recipe.perceptual_weight else None
    for step in range(int(state.step), recipe.steps):
        if step == recipe.plain_steps:
            state = _start_codes(state, bank, recipe)
        phase = Phase(step >= recipe.plain_steps, step >= recipe.adversarial_steps)
        frames = bank.batch(recipe.batch, np.random.default_rng((recipe.seed, step)))
        state, losses = train_step((recipe, phase), state, jnp.asarray(frames), judged_by)
        yield state, losses


def means(recent: Sequence[Losses]) -> dict[str, float]:
    """The mean of each loss over some steps, without those that were off; `restarted` is a sum."""
    table = {name: np.array([float(getattr(losses, name)) for losses in recent]) for name in vars(recent[0])}
    on = {name: values for name, values in table.items() if name == "pixel" or not np.isnan(values).all()}
    return {name: float(np.nansum(values) if name == "restarted" else _mean(values)) for name, values in on.items()}


def _mean(values: np.ndarray) -> float:
    """Of the steps in which a loss was on; NaN for a run that has diverged."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def told(losses: dict[str, float]) -> str:
    """The losses in a line."""
    decibels = -10 * np.log10(max(losses["pixel"], 1e-10))
    rest = (f"{name} {value:.4f}" for name, value in losses.items() if name not in ("pixel", "restarted"))
    return "  ".join(
        [f"pixel {losses['pixel']:.5f} ({decibels:.2f} dB)", *rest, f"restarted {losses['restarted']:.0f}"]
    )


def _start_codes(state: TokenizerState, bank: FrameBank, recipe: TokenizerRecipe) -> TokenizerState:
    """The codebook, where there is one, from k-means over the latents of the plain autoencoder."""
    tokenizer = state.tokenizer
    if state.use is None:
        return state
    generator = np.random.default_rng((recipe.seed, recipe.steps))
    size = max(FIRST_FRAMES, 4 * tokenizer.codebook_size // tokenizer.codes_per_frame)
    encode = jax.jit(lambda t, frames: t.latents(frames))
    frames = (jnp.asarray(bank.batch(recipe.batch, generator)) for _ in range(-(-size // recipe.batch)))
    latents = jnp.concatenate([encode(tokenizer, piece) for piece in frames])
    latents = latents.reshape(-1, latents.shape[-1])
    even = recipe.batch * tokenizer.codes_per_frame / tokenizer.codebook_size
    use = start_codes(latents, tokenizer.codebook_size, even, key=jax.random.key(recipe.seed + 1))
    return TokenizerState(
        with_codes(tokenizer, use.codes),
        with_codes(state.averaged, use.codes),
        state.optimiser,
        use,
        state.adversary,
        state.step,
    )
