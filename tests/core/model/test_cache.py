"""The key/value cache: in which bits it is stored, how it is read, and what happens when it is full."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import DenseAttention, LocalAttention, Quantised, TokenCoords, Visibility, read_stored
from lwm_core.model import KVCache, TransformerFamily


TOKENS = jax.random.randint(jax.random.key(1), (2, 30), 0, 64, jnp.int32)
ONE_BY_ONE = ((0, 20), *((t, t + 1) for t in range(20, 30)))
IN_CHUNKS = ((0, 10), (10, 20), *ONE_BY_ONE[1:])


@pytest.fixture(scope="module")
def model():
    family = TransformerFamily(
        vocab_size=64, width=64, layers=2, heads=4, kv_heads=2, ffn=96, init_std="fan-in", embed_std=1.0
    )
    return eqx.filter_jit(family.init)(key=jax.random.key(0))


@eqx.filter_jit
def step(model, tokens, start, cache):
    at = TokenCoords.of_rows(2, tokens.shape[1])
    states, cache = model.hidden(tokens, TokenCoords(at.position + start, at.segment), cache=cache)
    return model.logits(states), cache


def decoded(model, dtype, spans, room=32):
    cache, scores = model.empty_cache(2, room, dtype), []
    for start, stop in spans:
        found, cache = step(model, TOKENS[:, start:stop], jnp.int32(start), cache)
        scores.append(found)
    return jnp.concatenate(scores, axis=1)


@eqx.filter_jit
def whole(model):
    return model.logits(model.hidden(TOKENS, TokenCoords.of_rows(2, 30)).states)


@pytest.mark.parametrize(("dtype", "within"), [(None, 1e-5), ("bfloat16", 0.01), ("int8", 0.02)])
def test_decoding_is_the_full_forward_up_to_the_bits_of_the_cache(model, dtype, within):
    """Off by at most 1% (bfloat16) and 2% (int8) of the spread of the scores, root mean square; and in chunks the
    same as in one call, where only ties of rounding may fall the other way."""
    want, one, chunked = (
        np.asarray(x) for x in (whole(model), *(decoded(model, dtype, s) for s in (ONE_BY_ONE, IN_CHUNKS)))
    )
    off = lambda a, b: np.sqrt(((a - b) ** 2).mean()) / want.std()  # noqa: E731
    assert off(one, want) <= within
    assert off(one, want) > within / 50 or dtype is None, "nothing was stored in fewer bits"
    assert off(chunked, one) <= (1e-5 if dtype is None else within / 2)


def test_a_token_is_stored_to_half_a_step_of_its_own_largest_number():
    scales = jnp.asarray([0.0, 1e-20, 1e-3, 1.0, 1e6])[:, None, None]
    x = jax.random.normal(jax.random.key(0), (1, 5, 3, 16)) * scales
    stored = Quantised.of(x)
    assert stored.steps.dtype == jnp.int8 and stored.scale.shape == (1, 3, 5)
    error, largest = jnp.abs(stored.astype(jnp.float32) - x), jnp.abs(x).max(axis=-1, keepdims=True)
    assert bool((error <= largest * (0.5 / 127 + 1e-6)).all())


@pytest.mark.parametrize("seed", range(3))
def test_stored_keys_give_the_attention_of_what_they_stand_for(monkeypatch, seed):
    """Also where keys are many chunks, the last one overlaps, whole chunks are hidden and rows see nothing."""
    monkeypatch.setattr("lwm_core.attention.stored._CHUNK", 16)
    rng = np.random.default_rng(seed)
    keys, queries = int(rng.integers(40, 70)), (1, 3, 40)[seed]
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    q, k, v = draw(2, queries, 6, 8), Quantised.of(draw(2, keys, 2, 8)), Quantised.of(draw(2, keys, 2, 8))
    position, segment = np.tile(np.arange(keys), (2, 1)), rng.integers(0, 3, (2, 1)) * (np.arange(keys) < keys - 9)
    kv_at = TokenCoords(jnp.asarray(position, jnp.int32), jnp.asarray(segment, jnp.int32))
    q_at = TokenCoords(*(x[:, keys - queries - 9 : keys - 9] for x in (kv_at.position, kv_at.segment)))
    rule = Visibility(1, (None, 12, 5)[seed])
    got = read_stored(LocalAttention(), q, k, v, q_at, kv_at, rule)
    wide = k.astype(jnp.float32), v.astype(jnp.float32)
    np.testing.assert_allclose(got, DenseAttention()(q, *wide, q_at=q_at, kv_at=kv_at, rule=rule), atol=2e-5)


def test_a_cache_is_never_widened_whole(model):
    """A decoding step takes less temporary memory than the cache's own eight bits, so less than one layer of it in
    float32 and much less than all."""
    cache = model.empty_cache(2, 65536, "int8")
    program = step.lower(model, TOKENS[:, :1], jnp.int32(9), cache).compile().compiled
    held = sum(x.nbytes for x in jax.tree.leaves((cache.k, cache.v)))
    assert program.memory_analysis().temp_size_in_bytes < held


def test_tokens_that_do_not_fit_raise_where_that_is_known_and_are_nan_where_it_is_not(model):
    cache, at = model.empty_cache(2, 10), TokenCoords.of_rows(2, 4)
    for start, fits in ((0, True), (4, True), (8, False), (12, False)):
        scores, cache = step(model, TOKENS[:, :4], jnp.int32(start), cache)
        assert np.isfinite(scores).all() if fits else np.isnan(scores).all()
        assert bool(cache.overrun) != fits, "overrun once, overrun for good"
    with pytest.raises(ValueError, match="4 tokens do not fit a cache of 10 that holds 16"):
        model.hidden(TOKENS[:, :4], at, cache=cache)


def test_bad_caches_say_what_to_give(model):
    with pytest.raises(ValueError, match="int4.*float32, bfloat16, int8"):
        KVCache.empty(1, 1, 8, 1, 8, jnp.int4)
    dense = eqx.tree_at(lambda m: m.attention, model, DenseAttention())
    with pytest.raises(ValueError, match="DenseAttention reads caches in the dtype of its queries alone"):
        dense.hidden(TOKENS[:, :1], TokenCoords.of_rows(2, 1), cache=dense.empty_cache(2, 8, "int8"))
