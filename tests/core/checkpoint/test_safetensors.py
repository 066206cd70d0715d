"""A save that is cut off is never found, a damaged file is named, and old checkpoints are forgotten as asked."""

import json
import os

import jax.numpy as jnp
import pytest

from lwm_core.checkpoint import CheckpointError, Manifest, SafetensorsCheckpoint


def manifest(step):
    return Manifest(step, "s", step, 1e4, ())


TREE = {"w": jnp.arange(6.0)}


def test_a_cut_off_save_is_not_found(tmp_path, monkeypatch):
    format = SafetensorsCheckpoint()
    whole = format.save(tmp_path, {"model": TREE}, manifest(1))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        format.save(tmp_path, {"model": TREE}, manifest(2))
    assert format.latest(tmp_path) == whole
    monkeypatch.undo()
    assert format.save(tmp_path, {"model": TREE}, manifest(2)) == format.latest(tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    format = SafetensorsCheckpoint()
    path = format.save(tmp_path, {"model": TREE}, manifest(1))
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="model.safetensors"):
        format.restore(path, "model", TREE)


def test_a_foreign_manifest_is_named(tmp_path):
    format = SafetensorsCheckpoint()
    path = format.save(tmp_path, {"model": TREE}, manifest(1))
    (path / "manifest.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(CheckpointError, match="manifest.json"):
        format.manifest(path)


def test_keeps_as_many_as_asked(tmp_path):
    format = SafetensorsCheckpoint(keep=2)
    for step in range(5):
        format.save(tmp_path, {"model": TREE}, manifest(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    with pytest.raises(ValueError, match="keep=0"):
        SafetensorsCheckpoint(keep=0)
