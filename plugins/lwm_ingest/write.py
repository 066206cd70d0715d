"""Records into shards: in their order, each shard whole or not at all, then the index.

Owns the folder of shards while it is made: who may write to it, what of it stays, where a shard ends. The bytes of
a shard depend on its records alone.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lwm_ingest.shards import ENDING, INDEX, STARTED, Entry, arrow, schema_of, table_of
from lwm_ingest.store import content_of


GROUP_CODES, GROUP_RECORDS = 1 << 16, 256  # of a row group, which is what is read at once
SHARD_CODES = 1 << 24  # of a shard; about 20 MB


class Writer:
    """The shards of one folder. `add` takes records in order, `finish` closes the last shard and writes the index."""

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        self._folder, self._header, self._schema = folder, header, schema_of(header)
        self._shards: list[dict[str, Any]] = []
        self._open: Any = None
        self._group: list[Entry] = []
        self._codes = self._records = self._frames = 0

    def add(self, entry: Entry) -> None:
        self._group.append(entry)
        if sum(e.codes.size for e in self._group) >= GROUP_CODES or len(self._group) >= GROUP_RECORDS:
            self._write_group()

    def finish(self) -> dict[str, Any]:
        """The index, as it is now on disk; shards of an earlier run that are not in it are gone."""
        self._write_group()
        self._close()
        index = {"header": self._header, "shards": self._shards}
        index |= {name: sum(shard[name] for shard in self._shards) for name in ("records", "frames", "codes")}
        named = {shard["file"] for shard in self._shards}
        for path in self._folder.glob(f"*{ENDING}"):
            if path.name not in named:
                path.unlink()
        _replace(self._folder / INDEX, json.dumps(index, indent=1, sort_keys=True) + "\n")
        return index

    def _write_group(self) -> None:
        if not self._group:
            return
        if self._open is None:
            # Codes of one frame repeat little, so that packing 4 bytes into the few bits in use is zstd's work.
            self._open = arrow().parquet.ParquetWriter(self._making, self._schema, compression="zstd")
            self._codes = self._records = self._frames = 0
        self._open.write_table(table_of(self._group, self._schema), row_group_size=len(self._group))
        self._records += len(self._group)
        self._frames += sum(len(entry.codes) for entry in self._group)
        self._codes += sum(entry.codes.size for entry in self._group)
        self._group = []
        if self._codes >= SHARD_CODES:
            self._close()

    def _close(self) -> None:
        if self._open is None:
            return
        self._open.close()
        self._open = None
        with self._making.open("rb") as stream:
            os.fsync(stream.fileno())
        facts = {"records": self._records, "frames": self._frames, "codes": self._codes}
        name = f"{len(self._shards):05d}{ENDING}"
        facts |= {"file": name, "bytes": self._making.stat().st_size, "sha256": content_of(self._making)}
        os.replace(self._making, self._folder / name)
        self._shards.append(facts)

    @property
    def _making(self) -> Path:
        return self._folder / f"{len(self._shards):05d}{ENDING}.partial"


@contextmanager
def claimed(folder: Path, header: Mapping[str, Any]) -> Iterator[Writer]:
    """A writer for a new folder, or for one that this program began with the same options and tokenizer.

    Raises `ValueError` for a folder with anything else in it, or that another process is writing.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give --out a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    started = folder / STARTED
    ours = {STARTED, INDEX, f"{STARTED}.partial", f"{INDEX}.partial"}
    foreign = [path.name for path in folder.iterdir() if path.name not in ours and ENDING not in path.name]
    if foreign:
        raise ValueError(f"{folder} holds other things ({', '.join(sorted(foreign)[:3])}): give --out a new folder.")
    if not started.is_file():
        _replace(started, json.dumps(header, indent=1, sort_keys=True) + "\n")
    with started.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is being written by another `lwm ingest`: wait for it to end.") from None
        _check_same(folder, json.load(stream), header)
        for path in folder.glob("*.partial"):
            path.unlink()
        (folder / INDEX).unlink(missing_ok=True)  # until all is written anew, the folder is no whole set
        yield Writer(folder, header)


def _check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    there, here = ({**header, **header["options"]} for header in (there, here))
    names = sorted(name for name in {*there, *here} - {"options"} if there.get(name) != here.get(name))
    if names:
        told = "; ".join(f"{name} is {there.get(name)!r:.60} there, {here.get(name)!r:.60} now" for name in names)
        raise ValueError(f"{folder} was begun with other options: {told}. Give those, or give --out a new folder.")


def _replace(path: Path, text: str) -> None:
    making = path.with_name(f"{path.name}.partial")
    making.write_text(text)
    os.replace(making, path)
