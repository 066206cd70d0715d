"""Every kind of mesh conforms, and the kit catches one that lacks an axis."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from lwm_core.mesh import MeshSpec
from lwm_core.testing.mesh import check_mesh


@pytest.mark.parametrize("sizes", [(1, 1, 1, 8), (2, 2, 1, 2), (1, 2, 2, 2), (1, -1, 1, 1)])
def test_meshes_conform(sizes):
    check_mesh(MeshSpec(*sizes).make())


def test_a_mesh_without_an_axis_is_caught():
    with pytest.raises(AssertionError, match="axes are"):
        check_mesh(Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("dp", "sp")))
