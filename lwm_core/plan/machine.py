"""The machine that a plan is for: a TPU slice that is not here, or the devices at hand.

Owns the names of topologies and how much memory a chip gives its programs. What a chip can do is `mesh.chips`'s; the
compiler for slices that are not here is `mesh.ahead`'s.
"""

import math
import os
import re
from typing import Any, NamedTuple, get_args

import jax

from lwm_core.mesh.ahead import Generation, tpu_devices
from lwm_core.mesh.chips import Chip, chip


GENERATIONS = get_args(Generation)
# Slices that are sold, smallest first, by chips along each axis of the torus. Sources: cloud.google.com/tpu/docs.
SLICES: dict[str, tuple[str, ...]] = {
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
    "v5e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v6e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
}


class Machine(NamedTuple):
    """Devices, each a chip; `limit` is how many bytes of a chip its programs may have, None where nothing says."""

    name: str
    devices: tuple[Any, ...]
    chip: Chip | None
    limit: int | None

    @property
    def chips(self) -> int:
        return len(self.devices)

    @property
    def platform(self) -> str:
        return self.devices[0].platform


def machine(topology: str) -> Machine:
    """The machine of a name: "v4:4x4x2" (chips along each axis), "v4:32" (as many chips), or "here", what is at hand.

    Raises `ValueError` for a name that is none, and `ModuleNotFoundError` where the TPU's compiler is missing.
    """
    if topology == "here":
        return here(tuple(jax.devices()))
    generation, _, size = topology.partition(":")
    if generation not in GENERATIONS or (size and not re.fullmatch(r"\d+(x\d+)*", size)):
        raise ValueError(
            f"No topology {topology!r}: give a TPU slice such as v4:4x4x2, v5e:8x8 or v5p:64 "
            f"(generations {', '.join(GENERATIONS)}), or here."
        )
    shape = _shape(generation, size)
    devices = tuple(_devices(generation, shape))
    known = chip(devices[0].device_kind)
    return Machine(f"{generation}:{shape}", devices, known, known.usable_bytes if known else None)


def here(devices: tuple[Any, ...]) -> Machine:
    """These devices, of the machine at hand."""
    limit = None
    if devices[0].platform == "cpu":  # simulated devices share their host's memory
        hosts = max(1, len({device.process_index for device in devices}))
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * hosts // len(devices)
    else:
        limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    return Machine("here", devices, chip(devices[0].device_kind), limit)


def _shape(generation: str, size: str) -> str:
    """Chips along each axis, from their number where that is what was given."""
    if size and "x" in size:
        axes = len(SLICES[generation][0].split("x"))
        if size.count("x") + 1 != axes:
            raise ValueError(
                f"{generation}:{size}: give {axes} axes of chips, such as {generation}:{SLICES[generation][2]}."
            )
        return size
    by_chips = {math.prod(map(int, shape.split("x"))): shape for shape in SLICES[generation]}
    if not size:
        return SLICES[generation][0]
    if int(size) not in by_chips:
        raise ValueError(
            f"No slice of {size} {generation} chips is sold: give one of {', '.join(map(str, by_chips))}, or chips "
            f"along each axis, such as {generation}:{SLICES[generation][2]}."
        )
    return by_chips[int(size)]


def _devices(generation: Any, shape: str):
    try:
        return tpu_devices(generation, shape)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the compiler's own error, of no one type
        axes = len(SLICES[generation][0].split("x"))
        raise ValueError(
            f"The TPU's compiler knows no slice {generation}:{shape}: give {axes} axes of chips, such as "
            f"{generation}:{SLICES[generation][2]}. It says: {str(error).splitlines()[0][:200]}"
        ) from error
