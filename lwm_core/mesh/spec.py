"""How many devices each mesh axis takes.

Owns `MeshSpec`, the plain record that a recipe holds. It touches devices only when asked to `make` a mesh.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from lwm_core.mesh.axes import AXES, SP
from lwm_core.mesh.walk import closed_walk


@dataclass(frozen=True)
class MeshSpec:
    """Sizes of the axes dp, fsdp, tp and sp; one of them may be -1, "all devices that are left"."""

    dp: int = 1
    fsdp: int = 1
    tp: int = 1
    sp: int = 1

    def __post_init__(self):
        sizes = {name: getattr(self, name) for name in AXES}
        for name, size in sizes.items():
            if size < 1 and size != -1:
                raise ValueError(f"{self}: {name}={size} is not a size; give a positive number, or -1 to infer it.")
        free = [name for name, size in sizes.items() if size == -1]
        if len(free) > 1:
            raise ValueError(f"{self}: only one axis may be -1, and {' and '.join(free)} are; set the others.")

    def sizes(self, devices: int) -> dict[str, int]:
        """The size of every axis on this many devices, -1 filled in; a product that does not fit is an error."""
        sizes = {name: getattr(self, name) for name in AXES}
        fixed = 1
        for size in sizes.values():
            fixed *= size if size != -1 else 1
        free = [name for name, size in sizes.items() if size == -1]
        if free and devices % fixed == 0:
            return {**sizes, free[0]: devices // fixed}
        if free or fixed > devices:
            raise ValueError(
                f"{self} needs {'a multiple of ' if free else ''}{fixed} devices and there are {devices}: "
                f"make the product of the sizes {'divide' if free else 'equal'} {devices}."
            )
        if fixed < devices:
            raise ValueError(
                f"{self} takes {fixed} devices and there are {devices}: set one size to -1 to use them all, "
                f"or give it {fixed} of them."
            )
        return sizes

    def make_within(self, devices: Sequence) -> Mesh:
        """As `make`, on the first devices only where the sizes need fewer than there are."""
        fixed = math.prod(getattr(self, name) for name in AXES)
        return self.make(devices[:fixed] if fixed > 0 else devices)

    def make(self, devices: Sequence | None = None) -> Mesh:
        """A mesh over these devices (all by default), sp fastest so that ring neighbours are near: next to each other,
        where the devices are chips of a torus.

        Use it as `with jax.set_mesh(spec.make()): ...`.
        """
        devices = jax.devices() if devices is None else devices
        sizes = self.sizes(len(devices))
        # An axis may take part of one of the torus's: 16 of a slice of 4 x 8 x 8.
        laid = mesh_utils.create_device_mesh(tuple(sizes.values()), devices, allow_split_physical_axes=True)
        if all(getattr(device, "coords", None) is not None for device in devices):
            laid = np.apply_along_axis(_as_ring, AXES.index(SP), laid)
        return Mesh(laid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _as_ring(devices: np.ndarray) -> np.ndarray:
    """The devices of one sp line in the order of a ring."""
    return devices[closed_walk([tuple(device.coords) for device in devices])]
