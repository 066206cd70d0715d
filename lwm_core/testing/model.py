"""Conformance kit of the model interface: what every family and every model it makes must keep.

Owns the checks, as plain functions that raise `AssertionError`; it runs on the smallest shapes that can fail.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import DenseAttention, TokenCoords, Visibility
from lwm_core.model.base import AbstractModelFamily, AbstractSequenceModel


TOLERANCE = 2e-4


def check_model(family: AbstractModelFamily) -> None:
    """A family makes equal bits from equal keys, and its model is causal, packed, cached and growable."""
    model = family.init(key=jax.random.key(0))
    assert isinstance(model, AbstractSequenceModel), f"init gave a {type(model).__name__}"
    again = family.init(key=jax.random.key(0))
    assert eqx.tree_equal(model, again), "two models from one key differ"
    assert model.vocab_size == family.vocab_size
    model = eqx.tree_at(lambda m: m.attention, model, DenseAttention())
    tokens = jax.random.randint(jax.random.key(1), (2, 12), 0, model.vocab_size, jnp.int32)
    scores = _scores(model, tokens, TokenCoords.of_rows(2, 12))
    assert scores.shape == (2, 12, model.vocab_size) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()
    _check_causal(model, tokens, scores)
    _check_packed(model, tokens)
    _check_cache(model, tokens, scores)
    _check_resized(model, tokens, scores)


def _scores(model, tokens, at):
    return np.asarray(model.logits(model.hidden(tokens, at, Visibility()).states))


def _check_causal(model, tokens, scores):
    changed = tokens.at[:, 7].set((tokens[:, 7] + 1) % model.vocab_size)
    after = _scores(model, changed, TokenCoords.of_rows(2, 12))
    np.testing.assert_allclose(after[:, :7], scores[:, :7], atol=TOLERANCE, err_msg="the past saw the future")
    assert np.abs(after[:, 7:] - scores[:, 7:]).max() > TOLERANCE, "a changed token changed nothing after it"


def _check_packed(model, tokens):
    """Two documents in one row score as they do alone."""
    length = tokens.shape[1]
    position = jnp.concatenate([jnp.arange(5), jnp.arange(length - 5)]).astype(jnp.int32)
    segment = jnp.where(jnp.arange(length) < 5, 1, 2).astype(jnp.int32)
    at = TokenCoords(jnp.tile(position, (2, 1)), jnp.tile(segment, (2, 1)))
    packed = _scores(model, tokens, at)
    alone = _scores(model, tokens[:, 5:], TokenCoords.of_rows(2, length - 5))
    np.testing.assert_allclose(packed[:, 5:], alone, atol=TOLERANCE, err_msg="packed documents see each other")


def _check_cache(model, tokens, scores):
    """A prompt in one call, then tokens one by one, score as the whole row does."""
    cache, seen = model.empty_cache(2, 16), []
    for start, stop in ((0, 6), *((t, t + 1) for t in range(6, tokens.shape[1]))):
        at = TokenCoords.of_rows(2, stop - start, start)
        states, cache = model.hidden(tokens[:, start:stop], at, Visibility(), cache=cache)
        seen.append(np.asarray(model.logits(states)))
    assert int(cache.used) == tokens.shape[1]
    np.testing.assert_allclose(np.concatenate(seen, 1), scores, atol=TOLERANCE, err_msg="the cache changes scores")


def _check_resized(model, tokens, scores):
    grown = model.resized(model.vocab_size + 7, key=jax.random.key(2))
    assert grown.vocab_size == model.vocab_size + 7
    kept = _scores(grown, tokens, TokenCoords.of_rows(2, 12))[..., : model.vocab_size]
    np.testing.assert_array_equal(kept, scores, err_msg="growing the id space changed old scores")
