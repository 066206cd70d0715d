"""Codes that are made once: kept under a hash of content, options and tokenizer, a chunk of frames at a time.

Owns the files of the cache, and what a kill leaves of one: whole chunks, which count, and a partial one, which does
not. Which frames there are is not known here.
"""

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from lwm_ingest.reading import Frame


CHUNK = 32  # frames that are encoded together, and lost at most by a kill; another number is another FORMAT
FORMAT = 1
Codes = tuple[Int32[np.ndarray, "N P"], Float64[np.ndarray, " N"]]
Encode = Callable[[list[np.ndarray]], Int32[np.ndarray, "N P"]]


def key_of(content: str, kind: str, options: Any, passport: Any) -> str:
    """The name under which the codes of a file of this content (its SHA-256) are kept."""
    plain = json.dumps([FORMAT, content, kind, options, passport], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def content_of(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """A folder of codes. Every file in it appears whole or not at all; two runs may share it."""

    def __init__(self, folder: Path):
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    def absolute(self) -> "Store":
        """The same, for a process with another working directory."""
        return Store(self._folder.absolute())

    def frames(self, key: str) -> int | None:
        """How many frames are kept whole under this key; None where they are not."""
        done = self._place(key) / "done.json"
        if not done.is_file():
            return None
        count = json.loads(done.read_text())["frames"]
        kept = all(self._chunk(key, number).is_file() for number in range(-(-count // CHUNK)))
        return count if kept else None

    def chunks(self, key: str) -> Iterator[Codes]:
        """The codes and seconds of a whole entry, in chunks."""
        count = self.frames(key)
        assert count is not None, f"{key} is not whole"
        for number in range(-(-count // CHUNK)):
            try:
                yield self._read(key, number)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"The cache is damaged ({error}): remove {self._place(key)} and start again."
                ) from error

    def fill(self, key: str, frames: Iterable[Frame], encode: Encode, told: Callable[[int, int], None]) -> None:
        """Encodes the frames that are not kept yet. `told(kept, encoded)` hears of every chunk."""
        with self._locked(key) as place:
            if (count := self.frames(key)) is not None:  # another process was here in the meantime
                told(count, 0)
                return
            number, total = 0, 0
            for batch in _batched(frames):
                kept = self._whole(key, number, len(batch))
                if not kept:
                    codes = encode([pixels for pixels, _ in batch])
                    self._write(key, number, codes, np.array([at for _, at in batch], np.float64))
                told(kept * len(batch), (not kept) * len(batch))
                number, total = number + 1, total + len(batch)
            _atomically(place / "done.json", lambda path: path.write_text(json.dumps({"frames": total})))

    def drop(self, key: str) -> None:
        """Forgets an entry, as of a file that turned out to be broken."""
        shutil.rmtree(self._place(key), ignore_errors=True)

    def _place(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _chunk(self, key: str, number: int) -> Path:
        return self._place(key) / f"{number:06d}.npz"

    def _read(self, key: str, number: int) -> Codes:
        with np.load(self._chunk(key, number), allow_pickle=False) as data:
            return data["codes"], data["seconds"]

    def _whole(self, key: str, number: int, frames: int) -> bool:
        try:
            return len(self._read(key, number)[0]) == frames
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False

    def _write(self, key: str, number: int, codes: np.ndarray, seconds: np.ndarray) -> None:
        def write(path: Path) -> None:
            with path.open("wb") as stream:
                np.savez(stream, codes=codes, seconds=seconds)

        _atomically(self._chunk(key, number), write)

    @contextmanager
    def _locked(self, key: str) -> Iterator[Path]:
        """The folder of an entry, for one process at a time; the lock of a killed one is gone with it."""
        place = self._place(key)
        place.mkdir(parents=True, exist_ok=True)
        with (place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place


def _batched(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    rest = iter(frames)
    while batch := list(itertools.islice(rest, CHUNK)):
        yield batch


def _atomically(path: Path, write: Callable[[Path], Any]) -> None:
    making = path.with_name(f"{path.name}.partial")
    write(making)
    os.replace(making, path)
