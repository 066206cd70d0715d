"""Windowed sources: an epoch gives every document once, and never needs more windows at a time than are held."""

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.data.order import WindowOrder, windows_within


SIZES = st.lists(st.integers(0, 7), min_size=1, max_size=9).filter(sum)


@given(sizes=SIZES, together=st.integers(1, 4), in_order=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_every_document_comes_once_and_windows_are_read_once(sizes, together, in_order, seed):
    windows = np.cumsum([0, *sizes])
    order = WindowOrder(windows, together, in_order)
    epoch = [order(at, seed) for at in range(windows[-1])]
    assert sorted(epoch) == list(range(windows[-1]))
    read = [int(np.searchsorted(windows, i, "right")) - 1 for i in epoch]
    assert {w: read.index(w) for w in read}.keys() == {w for w, size in enumerate(sizes) if size}
    for at in range(len(read)):  # windows that are begun and not yet done
        begun = set(read[: at + 1]) & set(read[at:])
        assert len(begun) <= together
    if in_order and together == 1:
        assert read == sorted(read)
    assert [pickle.loads(pickle.dumps(order))(at, seed) for at in range(windows[-1])] == epoch


@given(sizes=SIZES, data=st.data())
def test_windows_over_some_of_the_documents(sizes, data):
    windows = np.cumsum([0, *sizes])
    chosen = np.asarray(sorted(data.draw(st.sets(st.integers(0, int(windows[-1]) - 1)))), np.int64)
    inner = windows_within(windows, chosen)
    for w in range(len(sizes)):
        mine = chosen[inner[w] : inner[w + 1]]
        assert all(windows[w] <= i < windows[w + 1] for i in mine)
    assert inner[0] == 0 and inner[-1] == len(chosen)


def test_epochs_differ():
    order = WindowOrder(np.arange(0, 101, 10), 2, False)
    assert [order(at, 1) for at in range(100)] != [order(at, 2) for at in range(100)]
