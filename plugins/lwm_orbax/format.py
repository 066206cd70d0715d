"""The checkpoint format `orbax`: arrays by Orbax (OCDBT and Zarr 3), the rest as in every format of files.

Owns what Orbax is asked to do and when a checkpoint is whole: Orbax has written every process's pieces, process 0 has
added the manifest and the hashes and renamed the folder, and all have met. How a folder becomes a checkpoint, and
which ones go, is `lwm_core.checkpoint.folder`'s.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lwm_core.checkpoint import CheckpointError, Manifest
from lwm_core.checkpoint.folder import (
    check_keep,
    committed,
    draft_of,
    drafted,
    forget,
    read_manifest,
    write,
    writing,
)
from lwm_core.checkpoint.listing import damaged, folder_of, newest
from lwm_core.checkpoint.named import Form, belongs, check_fit, form, laid, named, rebuilt
from lwm_core.checkpoint.sums import check_sums, saved_files


if TYPE_CHECKING:
    from orbax.checkpoint import v1

_ARRAYS, _FORMS = "arrays", "tensors.json"


@dataclass(frozen=True)
class OrbaxCheckpoint:
    """Directories `step-00000012/` holding `arrays/` by Orbax, `tensors.json`, `manifest.json` and `SHA256SUMS`.

    - `keep`: how many of the newest checkpoints to keep; None keeps all;
    - `keep_every`: besides these, the checkpoints of every so many steps are kept for good;
    - `asynchronous`: training goes on while the bytes are written, with a copy of the state in the host's memory;
    - `timeout`: seconds that processes wait for each other before a save fails.
    """

    keep: int | None = None
    keep_every: int | None = None
    asynchronous: bool = True
    timeout: int = 1200

    def __post_init__(self):
        check_keep(self.keep, self.keep_every)
        if self.timeout < 1:
            raise ValueError(f"timeout={self.timeout}: give a number of seconds of at least 1.")

    def save(self, root: Path, trees: Mapping[str, Any], manifest: Manifest) -> Future[Path]:
        root = root.absolute()
        tables = {name: named(tree) for name, tree in trees.items()}
        size = sum(leaf.nbytes for table in tables.values() for leaf in table.values())
        guard = partial(writing, root, manifest.step, size)
        with guard():
            if jax.process_index() == 0:
                drafted(root, manifest.step)
            begun = self._begun(draft_of(root, manifest.step) / _ARRAYS, tables)

        def finished() -> Path:
            with guard():
                if begun is not None:
                    begun.result()
                return self._whole(root, tables, manifest)

        if self.asynchronous:
            pool = ThreadPoolExecutor(1, "checkpoint")
            future = pool.submit(finished)
            pool.shutdown(wait=False)
            return future
        done: Future[Path] = Future()
        done.set_result(finished())
        return done

    def latest(self, root: Path) -> Path | None:
        return newest(root)

    def manifest(self, path: Path) -> Manifest:
        return read_manifest(path)

    def restore(self, path: Path, name: str, like: Any) -> Any:
        path = path.absolute()
        found = _forms(path)
        if name not in found:
            raise damaged(path, f"{path} holds no tree {name!r}, only {', '.join(found)}")
        check_fit(path, name, found[name], like)
        wanted = named(like)
        stored = {tensor: leaf for tensor, leaf in wanted.items() if np.prod(leaf.shape) > 0}
        table = {tensor: laid(np.zeros(leaf.shape, leaf.dtype), belongs(leaf)) for tensor, leaf in wanted.items()
                 if tensor not in stored}  # fmt: skip
        if stored:
            _agreed(lambda: check_sums(path, _files_of(path, name), (jax.process_index(), jax.process_count())))
            table |= self._loaded(path, name, stored)
        return rebuilt(like, table)

    def _begun(self, target: Path, tables: Mapping[str, Mapping[str, Any]]) -> "v1.AsyncResponse | None":
        """A save by Orbax under way, or None when there is no number to write, which it does not take."""
        full = {name: {t: leaf for t, leaf in table.items() if leaf.size} for name, table in tables.items()}
        full = {name: table for name, table in full.items() if table}
        if not full:
            target.mkdir()
            return None
        with self._context():
            return _orbax().save_checkpointables_async(str(target), full)

    def _whole(self, root: Path, tables: Mapping[str, Mapping[str, Any]], manifest: Manifest) -> Path:
        """The checkpoint, when its arrays are written; every process gets here, and leaves when it is whole."""
        if jax.process_index() == 0:
            draft = draft_of(root, manifest.step)
            forms = {name: {t: form(leaf) for t, leaf in table.items()} for name, table in tables.items()}
            write(draft / _FORMS, json.dumps(forms, indent=1).encode())
            committed(draft, manifest)
            forget(root, self.keep, self.keep_every)
        if jax.process_count() > 1:
            meet = _orbax().multihost.sync_global_processes
            asyncio.run(meet(f"{root}:{manifest.step}", operation_id=_meeting(), timeout=self.timeout))
        return folder_of(root, manifest.step)

    def _loaded(self, path: Path, name: str, wanted: Mapping[str, Any]) -> dict[str, jax.Array]:
        like = {tensor: _struct(leaf) for tensor, leaf in wanted.items()}
        try:
            with self._context():
                found = _orbax().load_checkpointables(str(path / _ARRAYS), {name: like})[name]
        except Exception as error:
            raise damaged(path, f"Orbax cannot read {path / _ARRAYS / name} ({error})") from error
        return {t: array if isinstance(array, jax.Array) else jax.numpy.asarray(array) for t, array in found.items()}

    def _context(self) -> "v1.Context":
        context = _orbax().Context()
        context.asynchronous.timeout_secs = self.timeout
        context.array.saving.use_compression = False  # weights and moments are noise, to a compressor
        context.array.saving.enable_write_sharding_file = False  # a restore is always told where to
        return context


def _orbax():
    try:
        from orbax.checkpoint import v1
    except ImportError as error:
        raise ModuleNotFoundError("The checkpoint format 'orbax' needs it: pip install 'lwm-jax[orbax]'.") from error
    return v1


_meetings = 0


def _meeting() -> str:
    """A name that every process gives to the same save: they all save in the same order."""
    global _meetings
    _meetings += 1
    return f"lwm-{_meetings}"


def _forms(path: Path) -> dict[str, dict[str, Form]]:
    """By tree and tensor, what a checkpoint holds."""
    check_sums(path, (_FORMS,))
    trees = json.loads((path / _FORMS).read_text("utf-8"))
    return {name: {t: (dtype, tuple(shape)) for t, (dtype, shape) in table.items()} for name, table in trees.items()}


def _files_of(path: Path, name: str) -> list[str]:
    """What has to be sound to read a tree: its folder, and Orbax's files beside it."""
    beside = [file for file in saved_files(path) if file.startswith(f"{_ARRAYS}/") and file.count("/") == 1]
    return [f"{_ARRAYS}/{name}", *beside]


def _struct(leaf: Any) -> Any:
    """What Orbax restores into: a place on devices, or the host's memory."""
    where = belongs(leaf)
    if where is None:
        return np.empty(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)


def _agreed(check: Callable[[], None]) -> None:
    """Runs a check of which each process does its share; where it fails on one, it fails on all."""
    failure = None
    try:
        check()
    except CheckpointError as error:
        failure = error
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        failed = np.flatnonzero(multihost_utils.process_allgather(np.int32(failure is not None)))
        if failure is None and failed.size:
            raise CheckpointError(f"Process {failed[0]} found the checkpoint damaged; see what it says.")
    if failure is not None:
        raise failure
