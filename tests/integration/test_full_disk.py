"""A full disk and one that cannot be written, as the kernel makes them: a clear error, the last checkpoint intact."""

import subprocess
from contextlib import contextmanager

import jax.numpy as jnp
import pytest

from lwm_core.checkpoint import CheckpointError, Manifest, SafetensorsCheckpoint
from lwm_core.testing.checkpoint import same
from lwm_orbax.format import OrbaxCheckpoint


FORMATS = pytest.mark.parametrize("format", [SafetensorsCheckpoint(), OrbaxCheckpoint()])
SMALL, BIG = {"w": jnp.arange(1000.0)}, {"w": jnp.arange(500_000.0)}


def manifest(step):
    return Manifest(step, "s", step, 1e4, ())


@contextmanager
def disk(folder, size):
    """A disk of its own, where the machine lets us have one."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"no disk of our own can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@FORMATS
def test_a_full_disk(format, tmp_path):
    with disk(tmp_path, "1m"):
        root = tmp_path / "run" / "checkpoints"
        whole = format.save(root, {"model": SMALL}, manifest(1)).result()
        with pytest.raises(CheckpointError, match=r"no room: it needs about 2\d{3} KB, and \d+ KB are free") as caught:
            format.save(root, {"model": BIG}, manifest(2)).result()
        for word in ("step-00000001, is as it was", f"lwm resume {root.parent}", str(root)):
            assert word in str(caught.value)
        assert format.latest(root) == whole
        same(format.restore(whole, "model", SMALL), SMALL)
        again = format.save(root, {"model": SMALL}, manifest(2)).result()
        assert format.latest(root) == again


@FORMATS
def test_a_folder_that_cannot_be_written(format, tmp_path):
    with disk(tmp_path, "4m"):
        root = tmp_path / "run" / "checkpoints"
        whole = format.save(root, {"model": SMALL}, manifest(1)).result()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(CheckpointError, match=r"cannot be written .*Read-only.*is as it was: make it writable"):
            format.save(root, {"model": SMALL}, manifest(2)).result()
        same(format.restore(format.latest(root), "model", SMALL), SMALL)
        assert format.latest(root) == whole
