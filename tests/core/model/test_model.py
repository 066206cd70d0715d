"""Rotary angles, chunked feed-forward, remat policies and tied heads of the reference transformer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords
from lwm_core.model import Rotary, TransformerFamily
from lwm_core.model.ffn import GatedFFN
from lwm_core.testing.model import check_model


SMALL = {"vocab_size": 31, "width": 16, "heads": 4, "kv_heads": 2, "ffn": 24}


def test_the_reference_family_conforms():
    check_model(TransformerFamily(**SMALL))
    check_model(TransformerFamily(**SMALL, tied=True))


def test_rotary_angles_are_exact_at_a_million():
    """Far positions in bfloat16 activations turn by the float64 angle to float32's own precision."""
    position = np.array([[1_048_575]], np.int32)
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 8)).astype(np.float32)
    angle = position[0, 0] * 5e7 ** (-np.arange(4, dtype=np.float64) / 4)
    left, right = x[..., :4].astype(np.float64), x[..., 4:].astype(np.float64)
    want = np.concatenate(
        [left * np.cos(angle) - right * np.sin(angle), right * np.cos(angle) + left * np.sin(angle)], -1
    )
    got = Rotary(5e7)(jnp.asarray(x), jnp.asarray(position))
    # float32 holds position x frequency to 2^-24 of its size, so the angle itself is off by up to 0.03 here.
    np.testing.assert_allclose(got, want, atol=0.07)
    near = Rotary(5e7)(jnp.asarray(x), jnp.asarray([[300]], jnp.int32))
    low = Rotary(5e7)(jnp.asarray(x, jnp.bfloat16), jnp.asarray([[300]], jnp.int32))
    np.testing.assert_allclose(np.asarray(low, np.float32), near, atol=0.02)


def test_rotary_depends_on_distance_alone():
    q, k = (jax.random.normal(jax.random.key(i), (1, 1, 1, 16)) for i in (0, 1))
    rope = Rotary()
    at = lambda x, p: rope(x, jnp.full((1, 1), p, jnp.int32))[0, 0, 0]  # noqa: E731
    np.testing.assert_allclose(at(q, 40) @ at(k, 31), at(q, 9) @ at(k, 0), rtol=1e-4)


def test_a_chunked_ffn_changes_nothing():
    keys = jax.random.split(jax.random.key(0), 4)
    gate, up = (jax.random.normal(k, (8, 12)) for k in keys[:2])
    down, x = jax.random.normal(keys[2], (12, 8)), jax.random.normal(keys[3], (2, 10, 8))
    whole, chunked = (GatedFFN(gate, up, down, chunk) for chunk in (None, 4))
    np.testing.assert_allclose(whole(x), chunked(x), rtol=1e-5, atol=1e-5)
    grads = [eqx.filter_grad(lambda f: (f(x) ** 2).sum())(f).gate for f in (whole, chunked)]
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("remat", ["none", "dots"])
def test_remat_changes_no_gradient(remat):
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)

    def gradient(policy):
        model = TransformerFamily(**SMALL, remat=policy).init(key=jax.random.key(0))
        at = TokenCoords.of_rows(2, 6)
        return eqx.filter_grad(lambda m: (m.logits(m.hidden(tokens, at).states) ** 2).sum())(model).blocks

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        gradient("block"),
        gradient(remat),
    )


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="4 heads do not divide by 3"):
        TransformerFamily(**SMALL | {"kv_heads": 3})


def test_a_cache_that_is_too_short_says_so():
    model = TransformerFamily(**SMALL).init(key=jax.random.key(0))
    cache = model.empty_cache(1, 6)
    at = TokenCoords.of_rows(1, 4)
    cache = model.hidden(jnp.zeros((1, 4), jnp.int32), at, cache=cache).cache
    with pytest.raises(ValueError, match="4 tokens do not fit a cache of 6 that holds 4"):
        model.hidden(jnp.zeros((1, 4), jnp.int32), at, cache=cache)
    with pytest.raises(ValueError, match="7 tokens do not fit a cache of 6 that holds 4"):
        jax.eval_shape(lambda: model.hidden(jnp.zeros((1, 7), jnp.int32), TokenCoords.of_rows(1, 7), cache=cache))
