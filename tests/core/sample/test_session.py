"""A conversation over one cache says what reading everything anew would say."""

import equinox as eqx
import jax
import numpy as np
import pytest

from lwm_core.model import TransformerFamily
from lwm_core.sample import Categorical, Greedy, Session, generate


KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def model():
    family = TransformerFamily(vocab_size=32, width=16, layers=2, heads=2, kv_heads=1, ffn=24, init_std=0.4)
    return eqx.filter_jit(family.init)(key=jax.random.key(0))


def some(count, seed=0):
    return np.random.default_rng(seed).integers(0, 32, count).tolist()


def anew(model, ids, count):
    (drawn,) = generate(model, [ids], sampler=Greedy(), key=KEY, max_new=count)
    return drawn.tolist()


def test_turns_over_one_cache_equal_reading_all_of_it_again(model):
    session, told = Session(model, 400), []
    for turn, (length, forgotten) in enumerate([(300, 0), (5, 3), (33, 7), (1, 0)]):
        session.read(some(length, turn))
        told += some(length, turn)
        drawn = session.write(sampler=Greedy(), key=KEY, most=7, every=3).tolist()
        assert drawn == anew(model, told, 7)
        session.forget(forgotten)
        told += drawn[: 7 - forgotten]
        assert session.ids == told and session.room == 400 - len(told)


def test_a_session_fills_up_to_the_last_id_and_then_refuses(model):
    session = Session(model, 40)
    session.read(some(33))
    assert session.write(sampler=Greedy(), key=KEY, most=99).tolist() == anew(model, some(33), 7)
    with pytest.raises(ValueError, match="No room to write: all 40"):
        session.write(sampler=Greedy(), key=KEY, most=1)
    with pytest.raises(ValueError, match="1 ids do not fit: 0 of 40"):
        session.read([1])


def test_bad_calls_say_what_to_do(model):
    session = Session(model, 10)
    with pytest.raises(ValueError, match="Nothing was read yet"):
        session.write(sampler=Greedy(), key=KEY, most=1)
    with pytest.raises(ValueError, match="do not belong together"):
        session.read([32])
    session.read([1, 2])
    with pytest.raises(ValueError, match="0 were written"):
        session.forget(1)


def test_watching_changes_nothing_and_can_end_it(model):
    seen = []
    draw = lambda **more: generate(model, [some(9)], sampler=Categorical(), key=KEY, max_new=12, **more)[0]  # noqa: E731
    watched = draw(watch=lambda rows: seen.append(rows[0].tolist()), every=5)
    assert watched.tolist() == draw().tolist() and [len(ids) for ids in seen] == [5, 10, 12]
    assert draw(watch=lambda rows: True, every=5).tolist() == watched[:5].tolist()
