"""Cross-entropy against its definition in float64, chunked and not, joint and per modality."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.model import TransformerFamily
from lwm_core.objective import CrossEntropy
from lwm_core.testing.objective import VOCABULARY, a_batch


@pytest.fixture(scope="module")
def model():
    family = TransformerFamily(vocab_size=VOCABULARY.size, width=16, heads=2, kv_heads=1, ffn=24, init_std=0.3)
    return family.init(key=jax.random.key(1))


def by_definition(model, batch, per_modality):
    scores = np.asarray(model.logits(model.hidden(batch.tokens, batch.at).states), np.float64)
    targets, weights = np.asarray(batch.targets), np.asarray(batch.weights, np.float64)
    if per_modality:
        ids = VOCABULARY.modality_index(np.arange(VOCABULARY.size))
        scores = np.where(ids == VOCABULARY.modality_index(targets)[..., None], scores, -np.inf)
    picked = np.take_along_axis(scores, targets[..., None], -1)[..., 0]
    return (weights * (np.log(np.exp(scores).sum(-1)) - picked)).sum()


@pytest.mark.parametrize("normalise", ["joint", "per-modality"])
@pytest.mark.parametrize("chunk", [3, 64])  # 3 does not divide the row of 10
def test_equals_its_definition(model, normalise, chunk):
    batch = a_batch()
    loss = CrossEntropy(chunk=chunk, normalise=normalise)(model, batch, VOCABULARY)
    np.testing.assert_allclose(loss.total, by_definition(model, batch, normalise == "per-modality"), rtol=1e-5)


def test_chunking_changes_no_gradient(model):
    grads = [
        eqx.filter_grad(lambda m, c=chunk: CrossEntropy(chunk=c)(m, a_batch(), VOCABULARY).total)(model)
        for chunk in (2, 64)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *grads)


def test_no_array_holds_every_score(model):
    """The largest array of forward and backward is far below B×T×V."""
    rows, length, chunk = 2, 64, 4
    batch = a_batch(rows=rows, length=length)
    weights, rest = eqx.partition(model, eqx.is_array)
    loss = lambda w: CrossEntropy(chunk=chunk)(eqx.combine(w, rest), batch, VOCABULARY).total  # noqa: E731
    text = str(jax.make_jaxpr(jax.grad(loss))(weights))
    assert f"{rows},{length},{VOCABULARY.size}" not in text
    assert f"{rows},{chunk},{VOCABULARY.size}" in text


def test_z_loss_adds_its_square(model):
    batch = a_batch()
    scores = model.logits(model.hidden(batch.tokens, batch.at).states)
    extra = (batch.weights * jax.nn.logsumexp(scores, axis=-1) ** 2).sum()
    plain, penal = (CrossEntropy(z_loss=z)(model, batch, VOCABULARY).total for z in (0.0, 0.1))
    np.testing.assert_allclose(penal - plain, 0.1 * extra, rtol=1e-4)


def test_refuses_a_chunk_of_nothing():
    with pytest.raises(ValueError, match="chunk=0"):
        CrossEntropy(chunk=0)


def test_accumulation_equals_one_batch(model):
    """k micro-batches give the loss and the update of one batch, whatever weights each of them holds."""
    from lwm_core.curriculum import Stage
    from lwm_core.train.optimizer import AdamW
    from lwm_core.train.step import init_state, make_step

    stage = Stage("s", 10, 1e4, 4, 1, 1e-2)
    batch = a_batch(rows=4)
    batch = eqx.tree_at(lambda b: b.weights, batch, batch.weights.at[0].set(0))
    after = []
    for accumulate in (1, 4):
        optimizer = AdamW().build(stage)
        copied = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, model)  # the step consumes its state
        step = make_step(CrossEntropy(), optimizer, VOCABULARY, accumulate)
        state, metrics = step(init_state(copied, optimizer), batch)
        after.append((state.model.blocks, metrics["loss"], metrics["gradient_norm"]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4),
        *map(eqx.filter, after, [eqx.is_array] * 2),
    )
