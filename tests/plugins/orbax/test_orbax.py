"""What is Orbax's own: changed bytes that it would not see, and checkpoints that several processes write together."""

import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1

from lwm_core.checkpoint import CheckpointError, Manifest
from lwm_core.testing.checkpoint import same
from lwm_orbax.format import OrbaxCheckpoint


PROCESS = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import numpy as np
from jax.experimental.multihost_utils import sync_global_devices
from jax.sharding import NamedSharding, PartitionSpec as P
from lwm_core.checkpoint import CheckpointError, Manifest, SafetensorsCheckpoint
from lwm_orbax.format import OrbaxCheckpoint

root, numbers = Path(sys.argv[3]), np.arange(64, dtype=np.float32).reshape(8, 8)
auto = jax.sharding.AxisType.Auto
one, two = jax.make_mesh((4,), ("a",), axis_types=(auto,)), jax.make_mesh((2, 2), ("a", "b"), axis_types=(auto, auto))
tree = {name: jax.make_array_from_callback((8, 8), NamedSharding(one, spec), lambda at: numbers[at])
        for name, spec in (("cut", P("a")), ("whole", P()))}
format = OrbaxCheckpoint(keep=2)
for step in (1, 2, 3):
    path = format.save(root, {"model": tree}, Manifest(step, "s", step, 1e4, ())).result()
    assert path.exists()
like = {name: jax.ShapeDtypeStruct((8, 8), np.float32, sharding=NamedSharding(two, P("b", "a"))) for name in tree}
back = format.restore(format.latest(root), "model", like)
for array in back.values():
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(shard.data, numbers[shard.index])
try:
    SafetensorsCheckpoint().save(root, {"model": tree}, Manifest(4, "s", 4, 1e4, ()))
except CheckpointError as error:
    assert "checkpoint.use=orbax" in str(error)
sync_global_devices("restored")
if jax.process_index() == 0:
    hurt = max((path / "arrays").rglob("d/*"), key=lambda file: file.stat().st_size)
    hurt.write_bytes(hurt.read_bytes()[:-9] + b"x" * 9)
sync_global_devices("hurt")
try:
    format.restore(path, "model", like)
except CheckpointError as error:
    print("REFUSED", sorted(file.name for file in root.iterdir()))
"""


def manifest(step):
    return Manifest(step, "s", step, 1e4, ())


def test_finds_the_changed_byte_that_orbax_does_not(tmp_path):
    tree = {"w": jnp.linspace(0, 1, 2**16)}
    path = OrbaxCheckpoint(asynchronous=False).save(tmp_path, {"model": tree}, manifest(1)).result()
    file = max((path / "arrays").rglob("d/*"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    alone = v1.load_checkpointables(str(path / "arrays"), {"model": {"w": np.empty(2**16, np.float32)}})["model"]["w"]
    assert alone.tobytes() != np.asarray(tree["w"]).tobytes(), "Orbax checks its data now: are our hashes still needed?"
    with pytest.raises(CheckpointError, match=file.name):
        OrbaxCheckpoint().restore(path, "model", tree)


def test_misses_a_file_beside_the_arrays(tmp_path):
    path = OrbaxCheckpoint(asynchronous=False).save(tmp_path, {"model": {"w": jnp.ones(8)}}, manifest(1)).result()
    gone = next(file for file in (path / "arrays").iterdir() if file.is_file())
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"{gone.name}, which SHA256SUMS lists, is missing"):
        OrbaxCheckpoint().restore(path, "model", {"w": jnp.ones(8)})


def test_keeps_as_many_as_asked(tmp_path):
    format = OrbaxCheckpoint(keep=1, keep_every=2)
    for step in (1, 2, 3):
        path = format.save(tmp_path, {"model": {"w": jnp.full(3, step)}}, manifest(step)).result()
    assert sorted(int(path.name[-1]) for path in tmp_path.iterdir()) == [2, 3]
    same(format.restore(path, "model", {"w": jnp.zeros(3, jnp.int32)}), {"w": jnp.full(3, 3)})
    for wrong, word in (({"keep": 0}, "keep=0"), ({"timeout": 0}, "timeout=0")):
        with pytest.raises(ValueError, match=word):
            OrbaxCheckpoint(**wrong)


@pytest.mark.slow
def test_two_processes_save_and_restore_together(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-c", PROCESS, address]
    started = [
        subprocess.Popen([*command, str(n), tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    for process in started:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0 and "REFUSED ['step-00000002', 'step-00000003']" in out, errors
