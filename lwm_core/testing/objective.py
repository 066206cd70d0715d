"""Conformance kit of the objective interface.

Owns the checks: sums, denominators and parts that add over rows, targets that count for nothing, finite gradients.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import TokenCoords
from lwm_core.model import TransformerFamily
from lwm_core.objective.base import AbstractObjective, Batch, Loss, Origin
from lwm_core.vocab import Modality, Vocabulary


VOCABULARY = Vocabulary((Modality("text", 20, {"eos": 19}), Modality("vision", 12)))


def a_batch(seed: int = 0, rows: int = 2, length: int = 10) -> Batch:
    """Random tokens of `VOCABULARY`, one document a row, weights between 0 and 2 with some zeros."""
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    tokens = jax.random.randint(first, (rows, length), 0, VOCABULARY.size, jnp.int32)
    targets = jax.random.randint(second, (rows, length), 0, VOCABULARY.size, jnp.int32)
    weights = jnp.floor(jax.random.uniform(third, (rows, length)) * 3)
    at = TokenCoords.of_rows(rows, length)
    return Batch(tokens, at, targets, weights, Origin(at.position, jnp.full_like(tokens, length)))


def check_objective(objective: AbstractObjective) -> None:
    """Raises `AssertionError` unless the objective keeps its contract.

    Losses and parts of two halves add up to those of the whole; what a target of weight 0 is changes nothing; a batch
    without a target has no loss and no gradient; gradients are finite.
    """
    model = TransformerFamily(vocab_size=VOCABULARY.size, width=16, heads=2, kv_heads=1, ffn=24).init(
        key=jax.random.key(1)
    )
    batch = a_batch()
    whole = objective(model, batch, VOCABULARY)
    halves = [objective(model, jax.tree.map(lambda x, i=i: x[i : i + 1], batch), VOCABULARY) for i in (0, 1)]
    _check_sum(whole, *halves)
    other = jnp.where(batch.weights > 0, batch.targets, (batch.targets + 7) % VOCABULARY.size)
    swapped = objective(model, eqx.tree_at(lambda b: b.targets, batch, other), VOCABULARY)
    _check_same(swapped, whole, "a target of weight 0 counts")
    _check_silent(objective, model, eqx.tree_at(lambda b: b.weights, batch, jnp.zeros_like(batch.weights)))
    grads = eqx.filter_grad(lambda m: objective(m, batch, VOCABULARY).total)(model)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads)), "a gradient is not finite"


def _check_sum(whole: Loss, first: Loss, second: Loss) -> None:
    assert set(first.parts) == set(second.parts) == set(whole.parts), "the parts' names depend on the rows"
    summed = Loss(
        first.total + second.total,
        first.denominator + second.denominator,
        {name: jax.tree.map(jnp.add, first.parts[name], second.parts[name]) for name in whole.parts},
    )
    _check_same(summed, whole, "two halves do not add up to the whole")


def _check_same(found: Loss, expected: Loss, wrong: str) -> None:
    np.testing.assert_allclose(found.total, expected.total, rtol=1e-5, err_msg=f"{wrong}: total")
    np.testing.assert_allclose(found.denominator, expected.denominator, rtol=1e-5, err_msg=f"{wrong}: denominator")
    for name, part in expected.parts.items():
        np.testing.assert_allclose(found.parts[name], part, rtol=1e-5, atol=1e-6, err_msg=f"{wrong}: part {name}")


def _check_silent(objective: AbstractObjective, model, batch: Batch) -> None:
    nothing = objective(model, batch, VOCABULARY)
    assert float(nothing.total) == 0 and float(nothing.mean) == 0, "a batch of weight 0 has a loss"
    for name, part in nothing.parts.items():
        assert not any(float(x) for x in part), f"part {name} of a batch of weight 0 is not 0"
    grads = eqx.filter_grad(lambda m: objective(m, batch, VOCABULARY).total)(model)
    assert not any(np.any(g) for g in jax.tree.leaves(grads)), "a batch of weight 0 has a gradient"
