"""Mesh sizes and logical axes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from lwm_core.mesh import AXES, MeshSpec, constrain, partition, sharding, tpu_devices
from lwm_core.mesh.walk import closed_walk


def test_one_size_may_be_left_to_the_device_count():
    assert MeshSpec(dp=-1, sp=4).sizes(8) == {"dp": 2, "fsdp": 1, "tp": 1, "sp": 4}
    mesh = MeshSpec(tp=2, sp=-1).make()
    assert mesh.axis_names == AXES and dict(mesh.shape) == {"dp": 1, "fsdp": 1, "tp": 2, "sp": 4}
    assert MeshSpec(sp=4).make(jax.devices()[:4]).size == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MeshSpec(dp=0), "dp=0 is not a size"),
        (lambda: MeshSpec(dp=-1, sp=-1), "dp and sp are"),
        (lambda: MeshSpec(sp=3).sizes(8), r"takes 3 devices and there are 8.*give it 3 of them"),
        (lambda: MeshSpec(sp=3, dp=-1).sizes(8), "multiple of 3 devices and there are 8"),
        (lambda: MeshSpec(sp=16).sizes(8), "needs 16 devices and there are 8: make the product of the sizes equal 8"),
    ],
)
def test_sizes_that_cannot_be_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_logical_axes_find_their_mesh_axes():
    with jax.set_mesh(MeshSpec(fsdp=2, tp=2, sp=2).make()):
        assert partition("batch", "sequence", None) == PartitionSpec(("dp", "fsdp"), "sp", None)
        assert partition("embed", "ffn", shape=(8, 6)) == PartitionSpec(("fsdp", "sp"), "tp")
        assert partition("embed", "ffn", shape=(6, 5)) == PartitionSpec("fsdp", None), "by 2 and not by 4; not by 2"
    with jax.set_mesh(jax.make_mesh((8,), ("sp",), axis_types=(jax.sharding.AxisType.Auto,))):
        assert partition("batch", "sequence") == PartitionSpec(None, "sp"), "axes that the mesh lacks are left out"
    with pytest.raises(ValueError, match="no logical axis 'sequences'.*sequence"):
        partition("sequences")


def test_constrain_lays_out_and_is_nothing_outside_a_mesh():
    x = jnp.arange(16.0).reshape(2, 8)
    assert constrain(x, "batch", "sequence") is x
    mesh = MeshSpec(dp=2, sp=4).make()
    with jax.set_mesh(mesh):
        laid = jax.jit(lambda x: constrain(x * 1, "batch", "sequence"))(x)
    assert laid.sharding.is_equivalent_to(sharding(mesh, "batch", "sequence"), 2)
    np.testing.assert_array_equal(laid, x)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_ring_goes_from_neighbour_to_neighbour_and_home(sides, shuffler):
    places = list(itertools.product(*(range(side) for side in sides)))
    shuffler.shuffle(places)
    walk = [places[n] for n in closed_walk(places)]
    assert sorted(walk) == sorted(places)
    longer = [side for side in sides if side > 1]
    if len(longer) > 1 and any(side % 2 == 0 for side in longer):
        steps = [
            sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in zip(walk, walk[1:] + walk[:1], strict=True)
        ]
        assert set(steps) == {1}


def test_a_slice_of_a_torus_is_laid_out_as_rings():
    pytest.importorskip("libtpu")
    mesh = MeshSpec(tp=2, sp=-1).make(tpu_devices("v5e", "4x8"))
    for line in mesh.devices.reshape(2, 16):
        places = [device.coords for device in line]
        assert all(
            sum(abs(a - b) for a, b in zip(*pair, strict=True)) == 1
            for pair in itertools.pairwise([*places, places[0]])
        )
