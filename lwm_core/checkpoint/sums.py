"""SHA256SUMS: the hash of every file of a checkpoint, in the form that `sha256sum -c` reads.

Owns the file and its check, so that a damaged, cut or missing file is found, by name, before its numbers are used.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lwm_core.checkpoint.listing import damaged


SUMS = "SHA256SUMS"
_READERS = 8  # files hashed at a time; hashing lets go of Python's lock


def written_sums(folder: Path) -> str:
    """The sums of every file in `folder`, as text."""
    return "".join(f"{digest}  {name}\n" for name, digest in _hashes(folder, _files(folder)).items())


def check_sums(folder: Path, within: Iterable[str], share: tuple[int, int] = (0, 1)) -> None:
    """Raises `CheckpointError` naming the first file that is not as it was saved.

    - `within`: files, or folders of files, to check, as paths in the checkpoint;
    - `share`: (index, count) to check only every count-th file, where other processes check the others.
    """
    roots = tuple(within)
    saved = saved_files(folder)
    listed = [name for name in saved if _inside(name, roots)]
    there = [name for name in _files(folder) if _inside(name, roots)]
    for root in roots:
        if not any(_inside(name, (root,)) for name in (*listed, *there)):
            raise damaged(folder, f"{folder / root} is missing")
    for name in listed:
        if name not in there:
            raise damaged(folder, f"{folder / name}, which {SUMS} lists, is missing")
    for name in there:
        if name not in saved:
            raise damaged(folder, f"{folder / name} is not one of the files that {SUMS} lists")
    index, count = share
    for name, digest in _hashes(folder, listed[index::count]).items():
        if digest != saved[name]:
            raise damaged(folder, f"{folder / name} is damaged: its hash is not the one in {SUMS}")


def saved_files(folder: Path) -> dict[str, str]:
    """The files that a checkpoint was saved with, as paths in it, and their hashes."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(folder, f"{folder / SUMS} cannot be read ({error})") from error
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != SUMS)


def _hashes(folder: Path, names: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(pool.map(lambda name: (name, _hash(folder / name)), names))


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}/") for root in roots)
