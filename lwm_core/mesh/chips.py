"""What a chip can do at best: its peak, its memory and its links, by the name that JAX gives its devices.

Owns the table, which plans and utilisation share. Figures are the vendors' for dense products, per chip and not per
device. A device that is not here has no peak, and none is invented for it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


GIB, GB, TERA = 2**30, 1e9, 1e12

# jax/_src/pallas/mosaic/tpu_info.py and Google's pages on each generation agree on peaks, memory and its bandwidth.
# A link's bandwidth is that of "How To Scale Your Model" (2025), chapter 2: what programs see, a tenth under nominal.
_TPU = "cloud.google.com/tpu/docs/{}, jax-ml.github.io/scaling-book/tpus"
_NVIDIA = "NVIDIA {} data sheet, dense products (half of the figure with sparsity)"


class Chip(NamedTuple):
    """One chip.

    - `memory_bytes`: HBM as sold; `usable_bytes`: what the compiler lets programs have, or None where that depends on
      the allocator;
    - `flops_bf16`: peak operations a second of bfloat16 products; `bandwidth`: of HBM, bytes a second;
    - `link_bandwidth`: bytes a second, one way, of each of its `links`;
    - `source`: where the figures are from.
    """

    name: str
    memory_bytes: int
    usable_bytes: int | None
    flops_bf16: float
    bandwidth: float
    link_bandwidth: float
    links: int
    source: str


# Usable memory is the limit that libtpu 0.0.52 names when it refuses a program.
_V4 = Chip("TPU v4", 32 * GIB, int(30.75 * GIB), 275 * TERA, 1228 * GB, 45 * GB, 6, _TPU.format("v4"))
_V5E = Chip("TPU v5e", 16 * GIB, int(15.75 * GIB), 197 * TERA, 819 * GB, 45 * GB, 4, _TPU.format("v5e"))
_V5P = Chip("TPU v5p", 96 * GIB, int(95.73 * GIB), 459 * TERA, 2765 * GB, 90 * GB, 6, _TPU.format("v5p"))
_V6E = Chip("TPU v6e", 32 * GIB, int(31.24 * GIB), 918 * TERA, 1640 * GB, 90 * GB, 4, _TPU.format("v6e"))

# NVLink 3 and 4 carry 25 GB/s a link each way, NVLink 5 50 GB/s; cards without it have no link here.
_A100_40 = Chip("NVIDIA A100 40GB", 40 * GIB, None, 312 * TERA, 1555 * GB, 25 * GB, 12, _NVIDIA.format("A100"))
_A100_80 = Chip("NVIDIA A100 80GB", 80 * GIB, None, 312 * TERA, 2039 * GB, 25 * GB, 12, _NVIDIA.format("A100"))
_H100 = Chip("NVIDIA H100 SXM", 80 * GIB, None, 989.5 * TERA, 3350 * GB, 25 * GB, 18, _NVIDIA.format("H100"))
_H100_PCIE = Chip("NVIDIA H100 PCIe", 80 * GIB, None, 756 * TERA, 2000 * GB, 25 * GB, 12, _NVIDIA.format("H100"))
_H200 = Chip("NVIDIA H200", 141 * GIB, None, 989.5 * TERA, 4800 * GB, 25 * GB, 18, _NVIDIA.format("H200"))
_B200 = Chip("NVIDIA B200", 180 * GIB, None, 2250 * TERA, 7700 * GB, 50 * GB, 18, _NVIDIA.format("B200"))
_L4 = Chip("NVIDIA L4", 24 * GIB, None, 121 * TERA, 300 * GB, 0.0, 0, _NVIDIA.format("L4"))
_L40S = Chip("NVIDIA L40S", 48 * GIB, None, 362 * TERA, 864 * GB, 0.0, 0, _NVIDIA.format("L40S"))

# The name of a device -> its chip: exact, since cards whose names begin alike differ in everything else.
CHIPS: dict[str, Chip] = {
    "TPU v4": _V4,
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
    "NVIDIA A100-SXM4-40GB": _A100_40,
    "NVIDIA A100-PCIE-40GB": _A100_40,
    "NVIDIA A100-SXM4-80GB": _A100_80,
    "NVIDIA A100 80GB PCIe": _A100_80,
    "NVIDIA H100 80GB HBM3": _H100,
    "NVIDIA H100 PCIe": _H100_PCIE,
    "NVIDIA H200": _H200,
    "NVIDIA B200": _B200,
    "NVIDIA L4": _L4,
    "NVIDIA L40S": _L40S,
}


def chip(device_kind: str) -> Chip | None:
    """The chip of a device by `jax.Device.device_kind`, such as "TPU v5 lite"; None where it is not in the table."""
    return CHIPS.get(device_kind)


def count_chips(devices: Sequence[Any]) -> int:
    """How many chips these devices are: devices at one place of a torus are cores of one chip."""
    places = {tuple(device.coords) if getattr(device, "coords", None) else ("id", device.id) for device in devices}
    return len(places)


def peak_flops(devices: Iterable[Any]) -> float | None:
    """Peak bfloat16 operations a second of all these devices together; None where one of them is not in the table."""
    devices = list(devices)
    kinds = {device.device_kind for device in devices}
    chips = {kind: chip(kind) for kind in kinds}
    if None in chips.values():
        return None
    by_kind = {kind: [device for device in devices if device.device_kind == kind] for kind in kinds}
    return sum(found.flops_bf16 * count_chips(by_kind[kind]) for kind, found in chips.items() if found is not None)
