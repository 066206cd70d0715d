"""The table of chips: names that JAX gives, peaks by chip and not by device, and no peak for what is not known."""

from types import SimpleNamespace

import jax
import pytest

from lwm_core.mesh.chips import CHIPS, chip, count_chips, peak_flops


def device(kind, number, coords=None, core=0):
    return SimpleNamespace(device_kind=kind, id=number, coords=coords, core_on_chip=core)


def test_two_cores_of_a_chip_are_one_chip():
    cores = [device("TPU v4", 2 * x + core, (x, 0, 0), core) for x in range(4) for core in (0, 1)]
    assert count_chips(cores) == 4 and peak_flops(cores) == 4 * 275e12
    assert peak_flops(cores[::2]) == 4 * 275e12  # as real slices list them: one device a chip


def test_a_peak_is_never_invented():
    assert chip("cpu") is None and chip("NVIDIA H100") is None
    assert peak_flops(jax.devices()) is None
    cards = [device("NVIDIA H200", n) for n in range(8)]
    assert peak_flops(cards) == 8 * 989.5e12
    assert peak_flops([*cards, device("NVIDIA H300", 8)]) is None


@pytest.mark.parametrize("kind", CHIPS)
def test_figures_are_plausible_and_say_where_they_are_from(kind):
    found = CHIPS[kind]
    assert found.source and (found.usable_bytes or 0) <= found.memory_bytes
    # Every such chip needs 100 to 700 operations for each byte of memory it reads, and links are slower than memory.
    assert 100 < found.flops_bf16 / found.bandwidth < 700 and found.link_bandwidth * found.links < found.bandwidth


@pytest.mark.parametrize("name", ["v4", "v5e", "v5p", "v6e"])
def test_the_compilers_topologies_are_in_the_table(name):
    pytest.importorskip("libtpu")
    from lwm_core.mesh import tpu_devices

    devices = tpu_devices(name)
    found = chip(devices[0].device_kind)
    assert found is not None and found.name == f"TPU {name}"
    assert len(devices) == count_chips(devices) == 4
