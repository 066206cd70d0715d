"""Conformance kit of the objective interface.

Owns the checks: sums and denominators that add over batches, padding that counts for nothing, finite gradients.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import TokenCoords
from lwm_core.model import TransformerFamily
from lwm_core.objective.base import AbstractObjective, Batch
from lwm_core.vocab import Modality, Vocabulary


VOCABULARY = Vocabulary((Modality("text", 20, {"eos": 19}), Modality("vision", 12)))


def a_batch(seed: int = 0, rows: int = 2, length: int = 10) -> Batch:
    """Random tokens of `VOCABULARY`, one document a row, weights between 0 and 2 with some zeros."""
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    tokens = jax.random.randint(first, (rows, length), 0, VOCABULARY.size, jnp.int32)
    targets = jax.random.randint(second, (rows, length), 0, VOCABULARY.size, jnp.int32)
    weights = jnp.floor(jax.random.uniform(third, (rows, length)) * 3)
    return Batch(tokens, TokenCoords.of_rows(rows, length), targets, weights)


def check_objective(objective: AbstractObjective) -> None:
    """Losses of two halves add up to the loss of the whole; weight 0 counts for nothing; gradients are finite."""
    model = TransformerFamily(vocab_size=VOCABULARY.size, width=16, heads=2, kv_heads=1, ffn=24).init(
        key=jax.random.key(1)
    )
    batch = a_batch()
    whole = objective(model, batch, VOCABULARY)
    halves = [objective(model, jax.tree.map(lambda x, i=i: x[i : i + 1], batch), VOCABULARY) for i in (0, 1)]
    np.testing.assert_allclose(sum(h.total for h in halves), whole.total, rtol=1e-5)
    np.testing.assert_allclose(sum(h.denominator for h in halves), whole.denominator, rtol=1e-6)
    assert set(whole.parts) == set(VOCABULARY.names), f"parts are {sorted(whole.parts)}"
    np.testing.assert_allclose(sum(c for _, c in whole.parts.values()), whole.denominator, rtol=1e-5)
    silent = eqx.tree_at(lambda b: b.weights, batch, jnp.zeros_like(batch.weights))
    nothing = objective(model, silent, VOCABULARY)
    assert float(nothing.total) == 0 and float(nothing.denominator) == 0, "a batch of weight 0 has a loss"
    grads = eqx.filter_grad(lambda m: objective(m, batch, VOCABULARY).total)(model)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads)), "a gradient is not finite"
