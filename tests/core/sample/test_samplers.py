"""Samplers choose what they say they choose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.sample import Categorical, Greedy
from lwm_core.testing.sampler import check_sampler


@pytest.mark.parametrize(
    "sampler",
    [Greedy(), Categorical(), Categorical(temperature=0.3, top_k=5), Categorical(top_k=99, top_p=0.8)],
    ids=repr,
)
def test_sampler_keeps_the_contract(sampler):
    check_sampler(sampler)


def draws(sampler, logits, count=4000):
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (count, len(logits)))
    return np.bincount(np.asarray(sampler(rows, key=jax.random.key(1))), minlength=len(logits)) / count


def test_categorical_draws_in_proportion_at_its_temperature():
    logits = np.log([0.1, 0.2, 0.3, 0.4])
    assert np.abs(draws(Categorical(), logits) - [0.1, 0.2, 0.3, 0.4]).max() < 0.03
    cold = np.array([0.1, 0.2, 0.3, 0.4]) ** 2
    assert np.abs(draws(Categorical(temperature=0.5), logits) - cold / cold.sum()).max() < 0.03


def test_top_k_and_top_p_keep_the_fewest_ids_that_they_should():
    logits = np.log([0.1, 0.2, 0.3, 0.4])
    assert np.abs(draws(Categorical(top_k=2), logits) - [0, 0, 3 / 7, 4 / 7]).max() < 0.03
    assert np.abs(draws(Categorical(top_p=0.5), logits) - [0, 0, 3 / 7, 4 / 7]).max() < 0.03
    assert draws(Categorical(top_p=0.3), logits)[3] == 1
    assert draws(Categorical(top_k=2), [0.0, 0.0, 0.0, 0.0])[2:].sum() == 0, "ties let more than k ids through"


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_bad_options_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Categorical(**bad)
