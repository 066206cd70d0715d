"""Conformance kit of a mesh: what attention, the feed and the trainer expect of the devices they are given.

Owns the checks for any `jax.sharding.Mesh`, of `MeshSpec` or made by hand; it needs a device for each place.
"""

import jax
import numpy as np
from jax.sharding import Mesh

from lwm_core.mesh import AXES, sharding


def check_mesh(mesh: Mesh) -> None:
    """The four axes in order, every device once, and arrays that come back whole from their shards."""
    assert tuple(mesh.axis_names) == AXES, f"axes are {mesh.axis_names}, not {AXES}"
    devices = list(mesh.devices.flat)
    assert len({device.id for device in devices}) == len(devices), "a device stands in the mesh twice"
    rows, slots = (np.prod([mesh.shape[axis] for axis in axes]) for axes in (("dp", "fsdp"), ("sp",)))
    array = np.arange(2 * rows * 3 * slots, dtype=np.int32).reshape(2 * rows, 3 * slots)
    placed = jax.device_put(array, sharding(mesh, "batch", "sequence"))
    assert placed.sharding.shard_shape(placed.shape) == (2, 3), "rows or slots are not cut evenly"
    np.testing.assert_array_equal(np.asarray(placed), array)
    with jax.set_mesh(mesh):
        total = jax.jit(lambda x: x.sum())(placed)
    assert int(total) == int(array.sum()), "a sum over the mesh is wrong"
