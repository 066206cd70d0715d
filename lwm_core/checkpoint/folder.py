"""A folder of checkpoints, `step-00000012/` each: how one comes to be there in an instant, and which ones go.

Owns atomicity and forgetting, which every format of files shares. A checkpoint is written under another name and
renamed when every byte is on disk; whatever a kill leaves behind has a name that is no checkpoint's, and is swept away
by the next save.
"""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lwm_core.checkpoint.base import CheckpointError, Manifest
from lwm_core.checkpoint.listing import checkpoints, damaged, folder_of, newest, step_of
from lwm_core.checkpoint.sums import SUMS, check_sums, written_sums


MANIFEST = "manifest.json"
_DRAFT, _GOING = ".writing-", ".going-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
REFUSING = _FULL | _CLOSED  # what a disk that is full or not to be written answers


def check_keep(keep: int | None, keep_every: int | None) -> None:
    """Raises `ValueError` for options that would keep nothing, or mean nothing."""
    if keep is not None and keep < 1:
        raise ValueError(f"keep={keep}: give at least 1, or leave it out to keep all checkpoints.")
    if keep_every is not None and keep_every < 1:
        raise ValueError(f"keep_every={keep_every}: give a number of steps of at least 1.")
    if keep_every is not None and keep is None:
        raise ValueError(f"keep_every={keep_every} says what `keep` must not forget: give `keep` too.")


def drafted(root: Path, step: int) -> Path:
    """An empty folder to write a checkpoint into; what cut-off saves left in `root` is swept away."""
    root.mkdir(parents=True, exist_ok=True)
    for left in (*root.glob(f"{_DRAFT}*"), *root.glob(f"{_GOING}*")):
        shutil.rmtree(left)
    for older in root.glob("step-*.old"):
        if older.with_suffix("").exists():
            _discard(older)
    draft = draft_of(root, step)
    draft.mkdir()
    return draft


def draft_of(root: Path, step: int) -> Path:
    """Where the checkpoint of a step is written before it is whole."""
    return root / f"{_DRAFT}{folder_of(root, step).name}"


def committed(draft: Path, manifest: Manifest) -> Path:
    """Makes a draft the checkpoint of its step, in an instant, and returns its folder.

    A step may be saved again, with its gates' verdict: the older copy steps aside, under a name that still counts.
    """
    write(draft / MANIFEST, json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True).encode())
    write(draft / SUMS, written_sums(draft).encode())
    final = draft.with_name(draft.name.removeprefix(_DRAFT))
    older = final.with_name(f"{final.name}.old")
    if final.exists():
        _discard(older)
        os.rename(final, older)
    os.rename(draft, final)
    _synced(final.parent)
    _discard(older)
    return final


def forget(root: Path, keep: int | None, keep_every: int | None) -> None:
    """Deletes all but the newest `keep` checkpoints, and those of every `keep_every` steps."""
    if keep is None:
        return
    for path in checkpoints(root)[:-keep]:
        if keep_every is None or step_of(path) % keep_every:
            _discard(path)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint; raises `CheckpointError` when it is not the one that was saved."""
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint {path}.")
    check_sums(path, (MANIFEST,))
    try:
        facts = json.loads((path / MANIFEST).read_text("utf-8"))
        return Manifest(**{**facts, "vocabulary": tuple(facts["vocabulary"])})
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise damaged(path, f"{path / MANIFEST} is not a manifest of this project ({error})") from error


@contextmanager
def writing(root: Path, step: int, size: int) -> Iterator[None]:
    """Turns what goes wrong while `size` bytes are written into a `CheckpointError`, and takes the draft away."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        shutil.rmtree(draft_of(root, step), ignore_errors=True)
        raise CheckpointError(_failed(root, step, size, error)) from error


def write(path: Path, data: bytes) -> None:
    """A file that is on disk when this returns."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _failed(root: Path, step: int, size: int, error: Exception) -> str:
    whole = newest(root)
    last = f"The last whole checkpoint, {whole}, is as it was" if whole else "No checkpoint was saved before it"
    at = next(parent for parent in (root, *root.parents) if parent.exists())
    number = error.errno if isinstance(error, OSError) else None
    if number in _CLOSED:
        cause, cure = f"the folder cannot be written ({error})", "make it writable"
    elif number in _FULL or any(code in str(error) for code in ("ENOSPC", "No space left", "EDQUOT", "EFBIG")):
        free = shutil.disk_usage(at).free
        cause = f"there is no room: it needs about {_told(size)}, and {_told(free)} are free ({error})"
        cure = "make room, or keep fewer checkpoints (checkpoint.keep = 2)"
    else:
        cause, cure = f"{type(error).__name__}: {error}", "mend that"
    return (
        f"The checkpoint of step {step} could not be written to {root}: {cause}. {last}: {cure}, and go on with "
        f"`lwm resume {root.parent}`."
    )


def _told(size: int) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 10_000:
            return f"{size} {unit}"
        size //= 1000
    return f"{size} TB"


def _discard(path: Path) -> None:
    """Deletes a checkpoint, which is none from the first instant on."""
    if path.exists():
        going = path.with_name(f"{_GOING}{path.name}")
        shutil.rmtree(going, ignore_errors=True)
        os.rename(path, going)
        shutil.rmtree(going)


def _synced(folder: Path) -> None:
    """Puts renames in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
