"""Schedules at their corners, AdamW as the paper writes it down, and any chain of optax by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lwm_core.curriculum import Stage
from lwm_core.testing.optimizer import check_optimizer
from lwm_core.train.optimizer import AdamW, Chain, Optimizer, learning_rate
from lwm_registry import compose
from lwm_registry.errors import RegistryError


def stage(**options):
    return Stage("s", 8, 1e4, 1, options.pop("steps", 100), 1e-3, **options)


def test_constant_and_cosine_schedules_warm_up_and_end_where_they_should():
    flat = learning_rate(stage(warmup_steps=10))
    assert [float(flat(n)) for n in (0, 5, 10, 99)] == pytest.approx([0, 5e-4, 1e-3, 1e-3])
    bow = learning_rate(stage(warmup_steps=10, schedule="cosine", min_learning_rate=1e-4))
    middle = 1e-4 + 0.5 * 9e-4
    assert [float(bow(n)) for n in (0, 10, 55, 100, 500)] == pytest.approx([0, 1e-3, middle, 1e-4, 1e-4])


def test_adamw_is_the_papers_step():
    """Clipped to norm 1, moments of 0.9 and 0.95, decay 0.1, in float64 by hand over three steps."""
    weights, rate = np.array([1.0, -2.0, 3.0]), learning_rate(stage(warmup_steps=4))
    made = AdamW().build(stage(warmup_steps=4))
    moments, ours = made.init(jnp.asarray(weights, jnp.float32)), jnp.asarray(weights, jnp.float32)
    first, second = np.zeros(3), np.zeros(3)
    for n in range(3):
        gradient = np.array([3.0, 4.0, 12.0]) * (n + 1)
        updates, moments = made.update(jnp.asarray(gradient, jnp.float32), moments, ours)
        ours = optax.apply_updates(ours, updates)
        clipped = gradient / max(1.0, np.linalg.norm(gradient))
        first, second = 0.9 * first + 0.1 * clipped, 0.95 * second + 0.05 * clipped**2
        unbiased = first / (1 - 0.9 ** (n + 1)), second / (1 - 0.95 ** (n + 1))
        step = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + 0.1 * weights
        weights = weights - float(rate(n)) * step
    np.testing.assert_allclose(ours, weights, rtol=1e-6)


def test_a_chain_by_name_is_the_chain_by_hand():
    links = ({"name": "clip_by_global_norm", "max_norm": 1.0}, {"name": "lion", "learning_rate": "stage", "b1": 0.8})
    by_name = Chain(links).build(stage())
    by_hand = optax.chain(optax.clip_by_global_norm(1.0), optax.lion(learning_rate(stage()), b1=0.8))
    weights = {"w": jnp.arange(6.0)}

    def ran(made):
        moments, now = made.init(weights), weights
        for _ in range(5):
            updates, moments = made.update(jax.tree.map(jnp.sin, now), moments, now)
            now = optax.apply_updates(now, updates)
        return now["w"]

    np.testing.assert_array_equal(ran(by_name), ran(by_hand))
    check_optimizer(Chain(({"name": "scale_by_adam"},)))
    check_optimizer(Chain(({"name": "contrib.muon", "learning_rate": "stage"},)))


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ((), "is empty"),
        (({"max_norm": 1.0},), "say which"),
        (({"name": "scale_by_adamm"},), "Did you mean 'scale_by_adam"),
        (({"name": "scale_by_adam", "beta": 1},), "'beta'.*it takes"),
        (({"name": "_src.base.identity"},), "no transformation"),
    ],
)
def test_bad_chains_are_refused_with_what_would_work(chain, said):
    with pytest.raises(ValueError, match=said):
        Chain(chain)


def test_what_makes_no_transformation_is_refused():
    with pytest.raises(ValueError, match="transforms no gradients"):
        Chain(({"name": "constant_schedule", "value": 1.0},)).build(stage())


def test_a_recipe_says_which_optimizer():
    small = {"tokenizer": "bytes", "model": {"use": "llama", "width": 32, "heads": 2, "ffn": 32}}
    assert compose(small, {"optimizer.weight_decay": 0.0}).optimizer == AdamW(weight_decay=0.0)
    chain = [{"name": "scale_by_adam", "b2": 0.95}]
    made = compose(small, {"optimizer": {"use": "optax", "chain": chain, "accumulate": 2}})
    assert isinstance(made.optimizer, Chain) and made.optimizer.accumulate == 2
    assert compose(made.recipe).optimizer == made.optimizer
    assert compose("tiny-text").recipe["optimizer"]["use"] == "adamw"
    with pytest.raises(RegistryError, match="nothing"):
        compose(small, {"optimizer": "nothing"})

    class Mine:
        accumulate = 1

        def build(self, stage):
            return optax.sgd(stage.learning_rate)

    mine = Mine()
    assert isinstance(mine, Optimizer) and compose(small, {"optimizer": mine}).optimizer is mine


@pytest.mark.parametrize("options", [{"b1": 1.5}, {"b2": -0.1}, {"eps": 0.0}, {"clip": 0.0}, {"weight_decay": -1.0}])
def test_numbers_that_no_adamw_has_are_refused(options):
    with pytest.raises(ValueError, match=f"optimizer.{next(iter(options))}="):
        AdamW(**options)
