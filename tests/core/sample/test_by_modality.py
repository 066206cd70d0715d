"""A sampler for each modality: its own temperature and top-k, and no say in which modality comes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.sample import ByModality, Categorical, Greedy
from lwm_core.vocab import Modality, Vocabulary


VOCABULARY = Vocabulary((Modality("text", 5), Modality("vision", 7, {"eof": 5}), Modality("action", 3)))
LOGITS = jnp.tile(2 * jax.random.normal(jax.random.key(1), (1, 15)), (4000, 1))


def shares(sampler, logits=LOGITS):
    ids = np.asarray(jax.jit(lambda x, key: sampler(x, key=key))(logits, jax.random.key(0)))
    return np.bincount(ids, minlength=logits.shape[1]) / len(ids)


def test_plain_samplers_in_each_part_draw_what_one_draws_over_all():
    chance = np.asarray(jax.nn.softmax(LOGITS[0]))
    assert np.abs(shares(ByModality(VOCABULARY)) - chance).max() < 0.04


def test_temperature_and_top_k_of_one_modality_leave_the_shares_of_all():
    chance = np.asarray(jax.nn.softmax(LOGITS[0]))
    seen = shares(ByModality(VOCABULARY, text=Greedy(), vision=Categorical(0.1, top_k=2)))
    for span in map(VOCABULARY.range, VOCABULARY.names):
        assert abs(seen[span.start : span.stop].sum() - chance[span.start : span.stop].sum()) < 0.04
    assert np.count_nonzero(seen[:5]) == 1 and np.count_nonzero(seen[5:12]) <= 2 and np.count_nonzero(seen[12:]) == 3


def test_what_is_forbidden_is_never_drawn_and_a_smaller_model_has_fewer_modalities():
    only = jnp.where((jnp.arange(15) >= 5) & (jnp.arange(15) < 12), LOGITS, -jnp.inf)
    assert shares(ByModality(VOCABULARY), only)[5:12].sum() == 1
    assert shares(ByModality(VOCABULARY), LOGITS[:, :5]).sum() == 1
    greedy = ByModality(VOCABULARY, Greedy(), Greedy(), {"action": Greedy()}, Greedy())
    assert np.count_nonzero(shares(greedy)) == 1


def test_it_follows_the_id_space_and_refuses_a_name_given_twice():
    turned = Vocabulary(VOCABULARY.modalities[::-1])
    sampler = ByModality(VOCABULARY, vision=Greedy(), choose=Greedy())
    assert sampler.over(turned).vocabulary is turned and sampler.over(turned).vision is sampler.vision
    with pytest.raises(ValueError, match="as the option 'text'"):
        ByModality(VOCABULARY, others={"text": Greedy()})
