"""Scores under a mesh, in the attention's layout, are those of one device."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from lwm_core.attention import DenseAttention
from lwm_core.data import Documents, Row
from lwm_core.evaluate import Perplexity, batches, best_next, token_losses
from lwm_core.layout.base import AbstractLayout
from lwm_core.testing.evaluator import tiny_subject


class Dealt(AbstractLayout):
    """Tokens dealt to shards like cards."""

    def permutation(self, length, shards):
        return np.arange(length).reshape(-1, shards).T.reshape(-1).copy()


@pytest.fixture
def mesh():
    kinds, axes = (AxisType.Auto,) * 4, ("dp", "fsdp", "tp", "sp")
    return jax.make_mesh((2, 1, 1, 2), axes, axis_types=kinds, devices=jax.devices()[:4])


def dense_subject():
    """A subject whose attention works whatever the mesh cuts."""
    subject = tiny_subject()
    model = eqx.tree_at(lambda m: m.attention, subject.model, DenseAttention())
    return dataclasses.replace(subject, model=model)


def rows(count, length=16):
    rng = np.random.default_rng(0)
    position, ones = np.arange(length, dtype=np.int32), np.ones(length)
    return [
        Row(rng.integers(0, 256, length).astype(np.int32), ones.astype(np.int32), position, ones.astype(np.float32))
        for _ in range(count)
    ]


def test_scores_are_those_of_one_device(mesh):
    model = dense_subject().model
    dealt = eqx.tree_at(lambda m: m.attention.layout, model, Dealt())
    given, places = rows(2), np.array([[3, 14], [0, 7]])
    losses, best = token_losses(model, given), best_next(model, given, places)
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(token_losses(dealt, given, chunk=8), losses, rtol=1e-5)
        assert np.array_equal(best_next(dealt, given, places), best)


def test_batches_divide_over_the_mesh_and_lose_no_row(mesh):
    given = rows(5)
    with jax.set_mesh(mesh):
        found = list(batches(given, tokens=40))
    assert [len(batch) for batch, _ in found] == [2, 2, 2] and [count for _, count in found] == [2, 2, 1]
    assert [row for batch, count in found for row in batch[:count]] == given
    assert [len(batch) for batch, _ in batches(given, tokens=40)] == [2, 2, 2]
    assert [len(batch) for batch, _ in batches(given, tokens=1)] == [1] * 5
    assert [len(batch) for batch, _ in batches(given, tokens=1 << 20)] == [5]
    assert not list(batches([], tokens=40))


def test_an_evaluator_measures_the_same_on_a_mesh(mesh):
    subject, evaluator = dense_subject(), Perplexity(Documents.of_texts(["word " * 9]), context=16)
    with jax.set_mesh(mesh):
        found = evaluator(subject)
    assert found.summary["loss"] == pytest.approx(evaluator(subject).summary["loss"], rel=1e-5)
