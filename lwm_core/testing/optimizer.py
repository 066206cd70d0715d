"""Conformance kit for optimisers: `check_optimizer(optimizer)`. Owns no test runner."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lwm_core.curriculum import Stage
from lwm_core.train.optimizer import Optimizer


def check_optimizer(optimizer: Optimizer, *, steps: int = 200) -> None:
    """Raises `AssertionError` unless the optimiser keeps its contract.

    Updates have the weights' shapes and types, the same ones every time, in and out of `jit`; a bowl gets shallower;
    and the moments keep their structure and types, so that they can be carried, saved and restored.
    """
    assert isinstance(optimizer, Optimizer), f"{type(optimizer).__name__} lacks accumulate or build."
    assert optimizer.accumulate >= 1, f"accumulate is {optimizer.accumulate}."
    made = optimizer.build(Stage("bowl", 8, 1e4, 1, steps, 0.02))
    weights = {"matrix": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "vector": jnp.full(4, 0.7)}

    def depth(weights):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(weights))

    def step(weights, moments):
        updates, moments = made.update(jax.grad(depth)(weights), moments, weights)
        return optax.apply_updates(weights, updates), moments, updates

    moments = first = made.init(weights)
    jitted, start = jax.jit(step), weights
    for _ in range(steps):
        weights, moments, updates = jitted(weights, moments)
        _alike(updates, weights, "An update is not of its weight's shape or type")
    _alike(moments, first, "The moments changed their shapes or types")
    assert depth(weights) < 0.9 * depth(start), f"After {steps} steps {depth(start):.3g} became {depth(weights):.3g}."
    plain, _, _ = step(*jitted(start, first)[:2])
    _same(plain, jitted(*jitted(start, first)[:2])[0])
    again = made.init(start)
    np.testing.assert_equal(jax.device_get(jitted(start, again)[0]), jax.device_get(jitted(start, first)[0]))


def _alike(left, right, message: str) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right), f"{message}: {left} and {right}."
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert jnp.shape(a) == jnp.shape(b) and jnp.result_type(a) == jnp.result_type(b), f"{message}: {a} and {b}."


def _same(left, right) -> None:
    close = jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, rtol=1e-5, atol=1e-6)), left, right)
    assert all(jax.tree.leaves(close)), f"jit changed the step: {left} and {right}."
