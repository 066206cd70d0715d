"""Conformance kit of the rotary position interface.

Owns the checks: scores depend on distance alone, far positions stay apart in every dtype, theta is what it says.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.model.rope import AbstractRope


FAR = 1_000_000


def check_rope(rope: AbstractRope) -> None:
    """Dot products depend on the distance only, neighbours far out differ, and the dtype is kept."""
    assert isinstance(rope, AbstractRope), f"{type(rope).__name__} is no AbstractRope"
    assert rope.theta > 0, f"theta is {rope.theta}"
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 2, 16))
    near, far = _score(rope, q, k, 7, 3), _score(rope, q, k, 1007, 1003)
    np.testing.assert_allclose(near, far, atol=1e-3, err_msg="the score depends on more than the distance")
    assert not np.allclose(near, _score(rope, q, k, 8, 3), atol=1e-3), "the distance changes nothing"
    for dtype in (jnp.float32, jnp.bfloat16):
        here, next_to_it = (_at(rope, q.astype(dtype), position) for position in (FAR, FAR + 1))
        assert here.dtype == dtype, f"{np.dtype(dtype).name} came back as {here.dtype.name}"
        assert not np.array_equal(here, next_to_it), f"positions {FAR} and {FAR + 1} fall together in {dtype}"
    wider = dataclasses.replace(rope, theta=rope.theta * 100)
    assert not np.allclose(_at(rope, q, 50), _at(wider, q, 50), atol=1e-4), "theta changes nothing"


def _at(rope: AbstractRope, x: jax.Array, position: int) -> jax.Array:
    return rope(x, jnp.full((1, 1), position, jnp.int32))


def _score(rope: AbstractRope, q: jax.Array, k: jax.Array, i: int, j: int) -> np.ndarray:
    return np.asarray((_at(rope, q, i) * _at(rope, k, j)).sum(-1))
