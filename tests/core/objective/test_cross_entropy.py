"""Cross-entropy against its definition in float64, chunked and not, joint and per modality."""

import equinox as eqx
import jax
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


@pytest.mark.parametrize("chunk", [3, 64])
def test_the_gradient_of_z_loss_is_that_of_its_definition_in_float64(model, chunk):
    batch, z_loss = a_batch(), 0.1
    grads = [
        eqx.filter_grad(lambda m, z=z: CrossEntropy(z_loss=z, chunk=chunk)(m, batch, VOCABULARY).total)(model).head
        for z in (0.0, z_loss)
    ]
    states = np.asarray(model.hidden(batch.tokens, batch.at).states, np.float64)
    scores = states @ np.asarray(model.head, np.float64)
    log_z = np.log(np.exp(scores).sum(-1, keepdims=True))
    of_scores = np.asarray(batch.weights, np.float64)[..., None] * 2 * z_loss * log_z * np.exp(scores - log_z)
    np.testing.assert_allclose(grads[1] - grads[0], np.einsum("bte,btv->ev", states, of_scores), rtol=1e-4, atol=1e-5)


def test_z_loss_is_a_part_of_its_own(model):
    batch = a_batch()
    plain, penal = (CrossEntropy(z_loss=z)(model, batch, VOCABULARY) for z in (0.0, 0.1))
    part = penal.parts["z-loss"]
    np.testing.assert_allclose(part.total, penal.total - plain.total, rtol=1e-4)
    assert part.tokens == (batch.weights > 0).sum() and "z-loss" not in plain.parts


def test_refuses_a_chunk_of_nothing():
    with pytest.raises(ValueError, match="chunk=0"):
        CrossEntropy(chunk=0)
