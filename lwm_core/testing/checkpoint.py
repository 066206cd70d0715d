"""Conformance kit of the checkpoint interface.

Owns the checks: bits that come back, half-written saves that are not found, errors that name the tensor.
"""

import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lwm_core.checkpoint.base import CheckpointError, CheckpointFormat, Manifest


def check_checkpoint(format: CheckpointFormat) -> None:
    """What is saved comes back bit for bit; `latest` is the newest whole one; a wrong shape is named."""
    tree = {
        "w": jnp.linspace(-1, 1, 12).reshape(3, 4),
        "n": {"count": jnp.int32(7), "half": jnp.ones(3, jnp.bfloat16)},
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert format.latest(root) is None
        for step in (9, 10):
            path = format.save(root, {"model": tree}, _manifest(step))
        assert format.latest(root) == path
        assert format.manifest(path) == _manifest(10)
        back = format.restore(path, "model", tree)
        for name, (was, now) in {
            "w": (tree["w"], back["w"]),
            "half": (tree["n"]["half"], back["n"]["half"]),
        }.items():
            assert now.dtype == was.dtype, f"{name} came back as {now.dtype}"
            np.testing.assert_array_equal(np.asarray(now), np.asarray(was))
        assert int(back["n"]["count"]) == 7
        _check_refuses(format, path, tree)


def _check_refuses(format, path, tree):
    for wrong in (
        tree | {"w": jnp.zeros((3, 5))},
        tree | {"w": jnp.zeros((3, 4), jnp.int32)},
        {"n": tree["n"]},
    ):
        try:
            format.restore(path, "model", wrong)
        except CheckpointError as error:
            assert "w" in str(error), f"the error does not name the tensor: {error}"
        else:
            raise AssertionError("a tree that does not fit was restored without an error")


def _manifest(step: int) -> Manifest:
    vocabulary = ({"name": "text", "size": 4, "markers": {"eos": 3}},)
    return Manifest(step, "first", step, 1e4, vocabulary, {"cursor": [1, 2]}, {"seed": 0}, {"ring:ring": "0.1"}, "f")
