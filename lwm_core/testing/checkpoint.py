"""Conformance kit of the checkpoint interface.

Owns the checks: bits that come back, also onto another mesh and while the arrays are given away; saves cut off at any
point that are not found; errors that name the file or the tensor, whatever byte of whatever file is hurt.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from lwm_core.checkpoint.base import CheckpointError, CheckpointFormat, Manifest


def check_checkpoint(format: CheckpointFormat) -> None:
    """Runs every check of this kit."""
    check_bits(format)
    check_meshes(format)
    check_cut_off(format)
    check_damage(format)
    check_other_models(format)


def check_bits(format: CheckpointFormat) -> None:
    """What is saved comes back bit for bit, of every dtype, keys and empty trees too; `latest` is the newest."""
    tree = _tree()
    with _folder() as root:
        assert format.latest(root) is None
        for step in (9, 10):
            path = format.save(root, {"model": tree, "none": {}}, _manifest(step)).result()
        assert format.latest(root) == path
        assert format.manifest(path) == _manifest(10)
        same(format.restore(path, "model", tree), tree)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        same(format.restore(path, "model", shapes), tree)
        assert format.restore(path, "none", {}) == {}
        # The same step again, as a gate's verdict is: the later one counts.
        later = jax.tree.map(lambda x: x, tree) | {"w": -tree["w"]}
        assert format.save(root, {"model": later}, _manifest(10)).result() == path
        same(format.restore(path, "model", tree), later)
        give_away = jax.jit(lambda x: x + 1, donate_argnums=0)
        big = jnp.arange(2.0**18)
        saved = np.array(big)
        future = format.save(root, {"model": big}, _manifest(11))
        for _ in range(3):
            big = give_away(big)
        np.testing.assert_array_equal(format.restore(future.result(), "model", big), saved)


def check_meshes(format: CheckpointFormat) -> None:
    """What lies on one mesh comes back on another, in the sharding that was asked for, and on one device."""
    devices = jax.devices()
    if len(devices) < 2:
        return
    one = jax.make_mesh((len(devices) // 2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    two = jax.make_mesh((2, len(devices) // 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    size = 2 * len(devices)
    plain = {"w": jnp.arange(size * size, dtype=jnp.float32).reshape(size, size), "key": jax.random.split(_key(), size)}
    specs = {"w": PartitionSpec("a", "b"), "key": PartitionSpec("b")}
    tree = {name: jax.device_put(plain[name], NamedSharding(one, specs[name])) for name in plain}
    onto = {"w": PartitionSpec(None, ("b", "a")), "key": PartitionSpec("a")}
    with _folder() as root:
        path = format.save(root, {"model": tree}, _manifest(1)).result()
        like = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(two, onto[name]))
            for name, x in plain.items()
        }
        back = format.restore(path, "model", like)
        for name, array in back.items():
            assert array.sharding.is_equivalent_to(like[name].sharding, array.ndim), f"{name}: {array.sharding}"
        same(back, plain)
        same(format.restore(path, "model", plain), plain)


def check_cut_off(format: CheckpointFormat) -> None:
    """A save killed at any point leaves the checkpoint before it, or is whole; and the next save works.

    Every state of the disk that a kill could leave is one that a copy, taken at that moment, shows.
    """
    with _folder() as root, _folder() as copies:
        before = {"w": jnp.zeros((64, 64))}
        format.save(root, {"model": before}, _manifest(1)).result()
        after = {"w": jnp.ones((64, 64))}
        for number, state in enumerate(
            _states(lambda: format.save(root, {"model": after}, _manifest(2)), root, copies)
        ):
            path = format.latest(state)
            assert path is not None, f"state {number}: no checkpoint is found"
            step = format.manifest(path).step
            same(format.restore(path, "model", before), before if step == 1 else after)
            again = format.save(state, {"model": after}, _manifest(3)).result()
            assert format.latest(state) == again
            left = [other.name for other in state.iterdir() if other.name.startswith(".")]
            assert not left, f"state {number}: the next save leaves {left}"


def check_damage(format: CheckpointFormat) -> None:
    """A changed byte, a lost half and a lost file, in every file of a checkpoint: an error, or the same numbers."""
    tree = {"w": jnp.linspace(-1, 1, 1200).reshape(30, 40), "n": jnp.int32(7)}
    random = np.random.default_rng(0)
    with _folder() as root, _folder() as other:
        format.save(root, {"model": tree}, _manifest(1)).result()
        format.save(root, {"model": tree}, _manifest(2)).result()
        whole = format.latest(root)
        assert whole is not None
        files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file())
        for file in files:
            for harm in (_flipped, _halved, None):
                copy = other / "root"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(root, copy)
                hurt = copy / whole.name / file
                hurt.unlink() if harm is None else hurt.write_bytes(harm(hurt.read_bytes(), random))
                _check_found(format, copy, file, tree)


def check_other_models(format: CheckpointFormat) -> None:
    """A tree of other tensors is refused by name, with both shapes."""
    tree = {"w": jnp.ones((3, 4)), "n": {"count": jnp.int32(7)}}
    with _folder() as root:
        path = format.save(root, {"model": tree}, _manifest(1)).result()
        for wrong, words in (
            (tree | {"w": jnp.zeros((3, 5))}, ("'w'", "[3, 4]", "[3, 5]")),
            (tree | {"w": jnp.zeros((3, 4), jnp.int32)}, ("'w'", "float32", "int32")),
            (tree | {"more": jnp.zeros(2)}, ("'more'", "[2]")),
            ({"n": tree["n"]}, ("'w'", "[3, 4]")),
        ):
            message = _refusal(lambda wrong=wrong: format.restore(path, "model", wrong))
            assert message is not None, "a tree that does not fit was restored without an error"
            assert all(word in message for word in words), f"the error does not say {words}: {message}"
        assert "nothing" in (_refusal(lambda: format.restore(path, "nothing", {})) or ""), "a tree that was not saved"


def same(found: Any, wanted: Any) -> None:
    """Asserts that two trees have the same bits and dtypes."""
    for now, was in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert now.dtype == was.dtype, f"{was.dtype} came back as {now.dtype}"
        if jnp.issubdtype(was.dtype, jax.dtypes.prng_key):
            now, was = jax.random.key_data(now), jax.random.key_data(was)
        assert np.shape(now) == np.shape(was)
        assert np.asarray(now).tobytes() == np.asarray(was).tobytes(), "other bits came back"


def _tree() -> dict[str, Any]:
    return {
        "w": jnp.linspace(-1, 1, 12).reshape(3, 4).at[0, 0].set(jnp.nan),
        "n": {"count": jnp.int32(7), "half": jnp.ones(3, jnp.bfloat16), "flag": jnp.array([True, False])},
        "small": jnp.arange(5, dtype=jnp.int8),
        "hole": jnp.zeros((0, 3)),
        "key": _key(),
    }


def _key() -> jax.Array:
    return jax.random.key(3)


def _check_found(format: CheckpointFormat, root: Path, file: Path, tree: Any) -> None:
    """The newest checkpoint, in which `file` was hurt, is refused with a word on what would work, or unharmed."""

    def read() -> None:
        path = format.latest(root)
        assert path is not None and path.name == sorted(p.name for p in root.glob("step-*"))[-1], "fell back in silence"
        assert format.manifest(path) == _manifest(2)
        same(format.restore(path, "model", tree), tree)

    message = _refusal(read)
    if message is not None:
        assert file.name in message or file.parts[0] in message, f"the error does not name {file}: {message}"


def _refusal(action: Callable[[], Any]) -> str | None:
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return None


def _flipped(data: bytes, random: np.random.Generator) -> bytes:
    if not data:
        return b"x"
    at = int(random.integers(len(data)))
    return data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]


def _halved(data: bytes, _) -> bytes:
    return data[: len(data) // 2]


def _states(save: Callable[[], Any], root: Path, copies: Path) -> Iterator[Path]:
    """Copies of `root` at every rename, link and deletion that a save makes through Python, and after it."""
    import os

    taken: list[Path] = []

    def snapshot() -> None:
        taken.append(copies / str(len(taken)))
        shutil.copytree(root, taken[-1])

    def watching(call):
        def watched(*args, **options):
            snapshot()
            done = call(*args, **options)
            snapshot()
            return done

        return watched

    calls = {name: getattr(os, name) for name in ("rename", "replace", "link")}
    try:
        for name, call in calls.items():
            setattr(os, name, watching(call))
        future = save()
        snapshot()
        future.result()
    finally:
        for name, call in calls.items():
            setattr(os, name, call)
    snapshot()
    yield from taken


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _manifest(step: int) -> Manifest:
    vocabulary = ({"name": "text", "size": 4, "markers": {"eos": 3}},)
    return Manifest(step, "first", step, 1e4, vocabulary, {"cursor": [1, 2]}, {"seed": 0}, {"ring:ring": "0.1"}, "f")
