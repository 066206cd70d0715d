"""Files as bytes, wherever they are: a local path, or any fsspec URL; by range, or from beginning to end.

Owns paths and patterns, the check that a file is there, and unpacking of `.gz` and `.zst`, which have no random
access, into a cache folder, once. It knows no format. fsspec and zstandard are imported where a path asks for them.
"""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lwm_core.data.json_lines import Bytes
from lwm_core.data.problems import BadRecord


PACKED = (".gz", ".zst")
_COPY = 1 << 20
T = TypeVar("T")


def cache_folder(given: Path | None = None) -> Path:
    """Where what is made once is kept: as given, else `$LWM_CACHE`, else `lwm` in the user's cache folder."""
    if given is not None:
        return Path(given)
    if "LWM_CACHE" in os.environ:
        return Path(os.environ["LWM_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lwm"


def is_url(path: Path | str) -> bool:
    return "://" in str(path)


def expanded(paths: Sequence[Path | str]) -> tuple[str, ...]:
    """The files that these paths and patterns (`data/*.jsonl`) name, in order; raises where one names nothing."""
    if isinstance(paths, str):
        raise ValueError(f"paths = {paths!r} is one text: give a list of files, such as [{paths!r}].")
    if not paths:
        raise ValueError("No file given: name at least one in `paths`.")
    return tuple(name for path in paths for name in _expanded(path))


def _expanded(path: Path | str) -> list[str]:
    name = str(path)
    if is_url(name):
        return _listed_remotely(name)
    if Path(name).is_file():
        return [name]
    if Path(name).is_dir():
        raise IsADirectoryError(f"{name} is a folder: name its files, such as {name}/*.jsonl.")
    found = sorted(p for p in glob(name, recursive=True) if Path(p).is_file()) if any(c in name for c in "*?[") else []
    if not found:
        raise FileNotFoundError(f"No file {name!r} (seen from {Path.cwd()}): check the name in `paths`.")
    return found


def _listed_remotely(url: str) -> list[str]:
    system, path = filesystem(url)
    if not any(c in path for c in "*?["):
        if not system.isfile(path):
            raise FileNotFoundError(f"No file {url!r}: check the name in `paths`.")
        return [url]
    found = sorted(str(system.unstrip_protocol(name)) for name in system.glob(path))
    if not found:
        raise FileNotFoundError(f"No file matches {url!r}: check the pattern in `paths`.")
    return found


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system and its name of the file; says what to install for a protocol that is not there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{url} needs fsspec: pip install 'lwm-jax[data]'.") from error
    try:
        return url_to_fs(url)
    except ImportError as error:  # a protocol of another package, such as s3
        raise ImportError(f"{url}: {error}; for s3, pip install 'lwm-jax[s3]'.") from error
    except ValueError as error:
        raise ValueError(
            f"{url}: {error}: write file://, s3://, gs://, https:// or another that fsspec knows."
        ) from error


class _Descriptor:
    """An open file, closed when nobody reads from it any more. `pread` has no place of its own to share."""

    def __init__(self, number: int):
        self.number = number

    def __del__(self, close=os.close):
        close(self.number)


@lru_cache(maxsize=128)
def _descriptor(name: str, device: int, inode: int) -> _Descriptor:
    """By inode too: a file that was replaced is another file."""
    return _Descriptor(os.open(name, os.O_RDONLY))


@dataclass(frozen=True)
class ByteFile:
    """One file, by name: a copy in another process or thread reads as well."""

    name: str

    @property
    def size(self) -> int:
        if not is_url(self.name):
            return os.stat(self.name).st_size
        system, path = filesystem(self.name)
        return int(system.size(path))

    @property
    def stamp(self) -> str:
        """Another text when the file is another: from its name, size and time of change, or what a store tells."""
        if not is_url(self.name):
            facts = os.stat(self.name)
            return f"{Path(self.name).resolve()}:{facts.st_size}:{facts.st_mtime_ns}"
        system, path = filesystem(self.name)
        return f"{self.name}:{self.size}:{system.ukey(path)}"

    def read(self, start: int, stop: int) -> bytes:
        if is_url(self.name):
            system, path = filesystem(self.name)
            return system.cat_file(path, start=start, end=stop)
        return next(self.reads([(start, stop)]))

    def reads(self, bounds: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes from each start up to its stop, all of the file that has the name when the first is read."""
        if is_url(self.name):
            yield from (self.read(start, stop) for start, stop in bounds)
            return
        facts = os.stat(self.name)
        held = _descriptor(self.name, facts.st_dev, facts.st_ino)  # so that it stays open whatever else is opened
        for start, stop in bounds:
            data = os.pread(held.number, stop - start, start)
            while len(data) < stop - start and (
                more := os.pread(held.number, stop - start - len(data), start + len(data))
            ):
                data += more
            yield data

    @contextmanager
    def opened(self) -> Iterator[Bytes]:
        """From the beginning, unpacked if packed. A packed file that is cut off raises `BadRecord` on the way."""
        with self._raw() as raw:
            if self.name.endswith(".gz"):
                yield io.BufferedReader(_Guarded(gzip.GzipFile(fileobj=raw), self.name), _COPY)
            elif self.name.endswith(".zst"):
                yield io.BufferedReader(_Guarded(_Zstd(raw, self.name), self.name), _COPY)
            else:
                yield raw

    @contextmanager
    def _raw(self) -> Iterator[Any]:
        if is_url(self.name):
            system, path = filesystem(self.name)
            with system.open(path, "rb") as file:
                yield file
        else:
            with open(self.name, "rb", buffering=_COPY) as file:
                yield file


def in_groups(files: np.ndarray, read: Callable[[int, np.ndarray], Iterable[T]]) -> list[T]:
    """Items read file by file, in the order of `files`, which says the file of each.

    `read(file, at)` gives those at the places `at`, in their order.
    """
    if not len(files):
        return []
    first = int(files[0])
    if (files == first).all():
        return list(read(first, np.arange(len(files))))
    items: dict[int, T] = {}
    for file in dict.fromkeys(files.tolist()):
        at = np.flatnonzero(files == file)
        items.update(zip(at.tolist(), read(file, at), strict=True))
    return [items[place] for place in range(len(files))]


class _Guarded(io.RawIOBase):
    """A reader that unpacks; whatever its library raises for a damaged file becomes one clear error."""

    def __init__(self, inner: Any, name: str):
        self._inner, self._name = inner, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            data = self._inner.read1(len(buffer))  # what comes before the damage is given first
        except (EOFError, OSError, zlib.error) as error:
            raise BadRecord(
                "", f"is damaged or cut off ({error})", "fetch or pack the file again", self._name
            ) from error
        buffer[: len(data)] = data
        return len(data)


class _Zstd:
    """Unpacks frame after frame; unlike the library's own reader it says when the last one is not whole."""

    def __init__(self, raw: Bytes, name: str):
        try:
            import zstandard
        except ImportError as error:
            raise ImportError(f"{name} needs zstandard: pip install 'lwm-jax[data]', or unpack it.") from error
        self._library, self._raw = zstandard, raw
        self._frame, self._begun, self._ready = None, b"", b""

    def read1(self, size: int) -> bytes:
        while not self._ready:
            packed = self._begun or self._raw.read(_COPY)
            self._begun = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame is not whole")
                return b""
            self._unpack(packed)
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _unpack(self, packed: bytes) -> None:
        frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = frame.decompress(packed)
        except self._library.ZstdError as error:
            raise OSError(str(error)) from error
        self._begun = frame.unused_data if frame.eof else b""
        self._frame = None if frame.eof else frame


def randomly(name: str, cache: Path | None = None) -> tuple[ByteFile, BadRecord | None]:
    """The file for reading by range, a packed one unpacked into the cache folder; and what was wrong with it.

    A damaged file gives what comes before the damage.
    """
    file = ByteFile(name)
    if not name.endswith(PACKED):
        return file, None
    key = hashlib.sha256(file.stamp.encode()).hexdigest()[:32]
    kept = cache_folder(cache) / "unpacked" / f"{key}-{Path(name).stem}"
    note = kept.with_name(f"{kept.name}.damage")
    if not kept.exists():
        _unpack(file, kept, note)
    damage = note.read_text("utf-8") if note.exists() else ""
    return ByteFile(str(kept)), BadRecord("", damage, "fetch or pack the file again", name) if damage else None


def _unpack(file: ByteFile, kept: Path, note: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    making = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        with open(making, "wb") as out, file.opened() as packed:
            try:
                while data := packed.read1(_COPY):  # type: ignore[attr-defined]
                    out.write(data)
            except BadRecord as damage:
                note.write_text(damage.problem, "utf-8")
        making.replace(kept)
    finally:
        making.unlink(missing_ok=True)
