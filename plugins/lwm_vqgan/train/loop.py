"""The training loop of a tokenizer: plain autoencoder, k-means, then codes.

Owns the order of the phases, the batches and the progress lines. The step is `step`'s.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lwm_vqgan.tokenizer import VQGAN, VQGANFamily
from lwm_vqgan.train.bank import FrameBank
from lwm_vqgan.train.codes import start_codes
from lwm_vqgan.train.recipe import TokenizerRecipe
from lwm_vqgan.train.score import score
from lwm_vqgan.train.step import Losses, TokenizerState, init_state, train_step, with_codes


FIRST_FRAMES = 256  # whose latents start the codebook


def train_tokenizer(
    family: VQGANFamily,
    bank: FrameBank,
    recipe: TokenizerRecipe,
    *,
    held_out: np.ndarray | None = None,
    report: Callable[[str], None] = print,
    every: int = 100,
    score_every: int = 1000,
) -> VQGAN:
    """A tokenizer of this family trained on `bank`, deterministic by `recipe.seed`.

    `report` gets a line with losses every `every` steps, and one with the score on `held_out` (uint8 frames of
    the tokenizer's size) every `score_every`.
    """
    generator = np.random.default_rng(recipe.seed)
    state = init_state(family.init(key=jax.random.key(recipe.seed)), recipe)
    recent, began = [], time.monotonic()
    for step in range(recipe.steps):
        if step == recipe.plain_steps:
            state = _start_codes(state, bank, recipe, generator)
        quantised = step >= recipe.plain_steps
        state, losses = train_step((recipe, quantised), state, jnp.asarray(bank.batch(recipe.batch, generator)))
        recent.append(losses)
        done = step + 1
        if done % every == 0 or done == recipe.steps:
            report(_line(done, recipe, recent, quantised, time.monotonic() - began))
            recent = []
        if held_out is not None and quantised and (done % score_every == 0 or done == recipe.steps):
            result = score(state.averaged, held_out)
            report(
                f"  held out: {result.psnr:.2f} dB, pooled {result.psnr_pooled:.2f} dB, "
                f"{result.code_use:.0%} of the codes, perplexity {result.perplexity:.0f}"
            )
    return state.averaged


def _start_codes(
    state: TokenizerState, bank: FrameBank, recipe: TokenizerRecipe, generator: np.random.Generator
) -> TokenizerState:
    """The codebook from k-means over the latents of the plain autoencoder."""
    tokenizer = state.tokenizer
    size = max(FIRST_FRAMES, 4 * tokenizer.codebook_size // tokenizer.codes_per_frame)
    encode = jax.jit(lambda t, frames: t.latents(frames))
    frames = (jnp.asarray(bank.batch(recipe.batch, generator)) for _ in range(-(-size // recipe.batch)))
    latents = jnp.concatenate([encode(tokenizer, piece) for piece in frames])
    latents = latents.reshape(-1, latents.shape[-1])
    even = recipe.batch * tokenizer.codes_per_frame / tokenizer.codebook_size
    use = start_codes(latents, tokenizer.codebook_size, even, key=jax.random.key(recipe.seed + 1))
    return TokenizerState(
        with_codes(tokenizer, use.codes), with_codes(state.averaged, use.codes), state.optimiser, use, state.step
    )


def _line(done: int, recipe: TokenizerRecipe, recent: list[Losses], quantised: bool, seconds: float) -> str:
    pixel = float(np.mean([float(x.pixel) for x in recent]))
    commitment = float(np.mean([float(x.commitment) for x in recent]))
    restarted = float(np.sum([float(x.restarted) for x in recent]))
    left = seconds / done * (recipe.steps - done)
    phase = f"commitment {commitment:.4f}  restarted {restarted:.0f}" if quantised else "codes not in use yet"
    return (
        f"step {done}/{recipe.steps}  pixel {pixel:.5f} ({-10 * np.log10(max(pixel, 1e-10)):.2f} dB)  {phase}  "
        f"{seconds:.0f} s, {left:.0f} s left"
    )
