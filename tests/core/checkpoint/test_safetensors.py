"""The reference format: its own errors, and which checkpoints are forgotten. Its contract is `tests/conformance`'s."""

import json
import subprocess

import jax.numpy as jnp
import pytest

from lwm_core.checkpoint import CheckpointError, Manifest, SafetensorsCheckpoint


def manifest(step):
    return Manifest(step, "s", step, 1e4, ())


TREE = {"w": jnp.arange(6.0)}


def test_a_damaged_file_is_named_with_what_would_work(tmp_path):
    format = SafetensorsCheckpoint()
    only = format.save(tmp_path, {"model": TREE}, manifest(1)).result()
    file = only / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged.*start again"):
        format.restore(only, "model", TREE)
    file.write_bytes(whole)
    newer = format.save(tmp_path, {"model": TREE}, manifest(2)).result()
    (newer / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError,
        match=r"model.safetensors, which SHA256SUMS lists, is missing; "
        r"delete .*step-00000002 to go on from step-0",
    ):
        format.restore(newer, "model", TREE)


def test_a_foreign_manifest_is_named(tmp_path):
    format = SafetensorsCheckpoint()
    path = format.save(tmp_path, {"model": TREE}, manifest(1)).result()
    (path / "manifest.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(CheckpointError, match="manifest.json"):
        format.manifest(path)


def test_the_hashes_are_those_of_sha256sum(tmp_path):
    path = SafetensorsCheckpoint().save(tmp_path, {"model": TREE}, manifest(1)).result()
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 2, done.stderr


def test_keeps_as_many_as_asked(tmp_path):
    def kept(root, **options):
        for step in range(1, 8):
            SafetensorsCheckpoint(**options).save(root, {"model": TREE}, manifest(step)).result()
        return sorted(int(path.name[-2:]) for path in root.iterdir())

    assert kept(tmp_path / "all") == [1, 2, 3, 4, 5, 6, 7]
    assert kept(tmp_path / "last", keep=2) == [6, 7]
    assert kept(tmp_path / "every", keep=2, keep_every=3) == [3, 6, 7]
    for wrong, word in (
        ({"keep": 0}, "keep=0"),
        ({"keep": 1, "keep_every": 0}, "keep_every=0"),
        ({"keep_every": 2}, "too"),
    ):
        with pytest.raises(ValueError, match=word):
            SafetensorsCheckpoint(**wrong)
