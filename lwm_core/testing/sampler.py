"""Conformance kit for samplers: `check_sampler(sampler)`. Owns no test runner."""

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.sample.base import AbstractSampler


def check_sampler(sampler: AbstractSampler, *, size: int = 37, batch: int = 8, trials: int = 16) -> None:
    """Raises `AssertionError` unless the sampler keeps its contract.

    One int32 id per row, in range, never one whose score is minus infinity; the same bits for the same key,
    in and out of `jit`; the only id left is chosen; scores shifted by a constant change nothing.
    """
    assert isinstance(sampler, AbstractSampler), f"{type(sampler).__name__} is not an AbstractSampler."
    scores_key, key = jax.random.split(jax.random.key(0))
    logits = 3 * jax.random.normal(scores_key, (batch, size), jnp.float32)
    logits = logits.at[:, ::3].set(-jnp.inf)
    jitted = jax.jit(lambda x, key: sampler(x, key=key))
    for trial in range(trials):
        now = jax.random.fold_in(key, trial)
        ids = sampler(logits, key=now)
        assert ids.shape == (batch,) and ids.dtype == jnp.int32, f"Expected int32[{batch}], got {ids.dtype}{ids.shape}."
        assert bool(((ids >= 0) & (ids < size)).all()), f"Ids {ids} lie outside 0..{size - 1}."
        assert bool(jnp.isfinite(logits[jnp.arange(batch), ids]).all()), "An id of score -inf was chosen."
        _same(ids, sampler(logits, key=now), "The same key gave different ids.")
        _same(ids, jitted(logits, now), "jit changed the ids.")
    only = jnp.full((batch, size), -jnp.inf).at[jnp.arange(batch), jnp.arange(batch)].set(-5.0)
    _same(sampler(only, key=key), jnp.arange(batch), "The only id left was not chosen.")
    clear = jnp.round(logits)  # whole numbers, so that the shift is exact in float32
    _same(
        sampler(clear, key=key),
        sampler(clear + 8, key=key),
        "A constant added to all scores changed the ids.",
    )


def _same(left, right, message: str) -> None:
    assert np.array_equal(left, right), f"{message} {left} and {right}."
