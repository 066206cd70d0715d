"""Targets are the next token of the same document, whatever the layout does to the order afterwards."""

import jax
import numpy as np
import pytest

from lwm_core.data import Row
from lwm_core.layout import Contiguous
from lwm_core.layout.striped import Striped
from lwm_core.layout.zigzag import Zigzag
from lwm_core.mesh import MeshSpec
from lwm_core.train.feed import slots_of, to_batch


def a_row(length=16, cut=6):
    at = np.arange(length)
    segment = np.where(at < cut, 1, np.where(at < length - 2, 2, 0)).astype(np.int32)
    position = np.where(at < cut, at, at - cut).astype(np.int32) * (segment > 0)
    return Row((at + 100).astype(np.int32), segment, position.astype(np.int32), np.ones(length, np.float32))


def test_targets_stay_within_their_document():
    batch = to_batch([a_row()], Contiguous())
    targets, weights = np.asarray(batch.targets[0]), np.asarray(batch.weights[0])
    counted = np.flatnonzero(weights)
    assert counted.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert (targets[counted] == np.asarray(batch.tokens[0])[counted] + 1).all()


def test_a_layout_moves_tokens_with_their_targets():
    """Under zigzag every token keeps its own target, weight, position and segment."""
    plain = to_batch([a_row()], Contiguous())
    mesh = MeshSpec(1, 1, 1, 4).make(jax.devices()[:4])
    moved = to_batch([a_row()], Zigzag(), mesh)
    order = Zigzag().permutation(16, 4)
    assert order.tolist() != list(range(16))
    for name in ("tokens", "targets", "weights"):
        np.testing.assert_array_equal(getattr(moved, name)[0], np.asarray(getattr(plain, name)[0])[order])
    np.testing.assert_array_equal(moved.at.position[0], np.asarray(plain.at.position[0])[order])
    np.testing.assert_array_equal(moved.origin.slot[0], order)
    np.testing.assert_array_equal(moved.origin.length[0], np.array([6] * 6 + [8] * 8 + [0] * 2)[order])
    assert moved.tokens.sharding.shard_shape(moved.tokens.shape) == (1, 4)


def test_a_document_that_goes_on_in_the_next_row_is_no_target_across_the_edge():
    """Whatever weights a packer gives, the last token of a row and the last of a segment predict nothing."""
    whole = Row(np.arange(8, dtype=np.int32), *[np.ones(8, np.int32)] * 2, np.ones(8, np.float32))
    batch = to_batch([whole, whole], Contiguous())
    assert np.asarray(batch.weights).tolist() == [[1] * 7 + [0]] * 2
    empty = Row(*[np.zeros(8, np.int32)] * 3, np.ones(8, np.float32))
    assert not np.asarray(to_batch([empty], Contiguous()).weights).any()


def test_rows_that_do_not_divide_are_refused_by_name():
    with pytest.raises(ValueError, match=r"3 rows a step do not divide over dp × fsdp = 2"):
        to_batch([a_row()] * 3, Contiguous(), MeshSpec(2, 1, 1, 1).make(jax.devices()[:2]))


def test_a_length_that_does_not_divide_is_refused_with_both_ways_out():
    mesh = MeshSpec(1, 1, 1, 4).make(jax.devices()[:4])
    with pytest.raises(ValueError, match="multiple of 8, and got 18: use 16 or 24") as caught:
        to_batch([a_row(18)], Zigzag(), mesh)
    assert caught.value.__notes__ == ['Or let rows be padded to 24 slots: uneven = "pad" in the stage.']


@pytest.mark.parametrize("layout", [Contiguous(), Zigzag(), Striped(3)])
def test_padded_rows_keep_every_token_and_add_none(layout):
    mesh = MeshSpec(1, 1, 1, 4).make(jax.devices()[:4])
    plain = to_batch([a_row(18)], Contiguous())
    padded = to_batch([a_row(18)], layout, mesh, "pad")
    slots = padded.tokens.shape[1]
    assert slots == slots_of(18, layout, mesh, "pad") <= 24
    back = np.argsort(layout.permutation(slots, 4))
    for get in (
        lambda b: b.tokens, lambda b: b.targets, lambda b: b.weights, lambda b: b.at.segment, lambda b: b.at.position
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(get(padded))[:, back][:, :18], get(plain))
        assert not np.asarray(get(padded))[:, back][:, 18:].any()
