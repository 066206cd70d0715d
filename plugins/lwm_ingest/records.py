"""Records read back from shards, a row group at a time, and judged: codes, frames, times, counts and hashes.

Owns every check of `lwm validate` on shards. What the columns are is `shards`'.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lwm_core.data.problems import BadRecord
from lwm_core.data.records import Records
from lwm_core.data.scan import Scanned
from lwm_ingest.shards import ENDING, Entry, arrow, entry_of, header_in, index_in
from lwm_ingest.store import content_of


_FIX = "ingest the file again"


class Groups:
    """The last few row groups, for all threads of a process."""

    def __init__(self, files: Sequence[Path], groups: Sequence[tuple[int, int]], hold: int):
        self._files, self._numbers, self._most = files, groups, hold
        self._held: OrderedDict[int, list[Entry]] = OrderedDict()
        self._lock = Lock()

    def entry(self, group: int, row: int) -> Entry:
        """One record of one group; `BadRecord` where the file is damaged."""
        with self._lock:
            if group not in self._held:
                file, number = self._numbers[group]
                table = _read(self._files[file], number)
                self._held[group] = [_entry(table, at) for at in range(len(table))]
            self._held.move_to_end(group)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return self._held[group][row]


def frames_in(files: Sequence[Path]) -> tuple[np.ndarray, list[int], list[tuple[int, int]]]:
    """Frames of every record; the record that each group begins at, and the end; file and number of each group."""
    frames, bounds, groups = [], [0], []
    for at, path in enumerate(files):
        try:
            file = arrow().parquet.ParquetFile(path)
            column = file.read(columns=["meta.frames"]).column("meta").combine_chunks().field("frames")
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(path, error) from error
        frames.append(column.to_numpy(zero_copy_only=False))
        for number in range(file.metadata.num_row_groups):
            groups.append((at, number))
            bounds.append(bounds[-1] + file.metadata.row_group(number).num_rows)
    return np.concatenate(frames or [np.zeros(0)]).astype(np.int64), bounds, groups


def scanned(path: Path, records: Records) -> Iterator[Scanned]:
    """Every record of a folder of shards, or of one shard, and the faults of files."""
    if not path.is_dir():
        yield from _shard(path, records, None)
        return
    try:
        index = index_in(path)
    except BadRecord as fault:
        yield Scanned(fault)
        return
    named = {shard["file"]: shard for shard in index["shards"]}
    for file in sorted(path.glob(f"*{ENDING}")):
        if file.name not in named:
            yield Scanned(BadRecord("", "is not in the index", "remove it, or ingest again", str(file)))
    for name, shard in named.items():
        if not (path / name).is_file():
            yield Scanned(BadRecord("", "is missing", "run `lwm ingest` again", str(path / name)))
            continue
        if content_of(path / name) != shard["sha256"]:
            yield Scanned(BadRecord("", "is another file than was written (SHA-256)", "ingest again", str(path / name)))
        yield from _shard(path / name, records, {**shard, "header": index["header"]})


def _shard(path: Path, records: Records, known: Mapping[str, Any] | None) -> Iterator[Scanned]:
    row = codes = frames = 0
    try:
        header = header_in(path)
        if known is not None and header != known["header"]:
            raise BadRecord("", "has another header than the index", "ingest again", str(path))
        file = arrow().parquet.ParquetFile(path)
        for number in range(file.metadata.num_row_groups):
            table = _read(path, number)
            for at in range(len(table)):
                row += 1
                one, entry = _judged(table, at, header, records, path, row)
                if entry is not None:
                    codes, frames = codes + entry.codes.size, frames + len(entry.codes)
                yield one
    except BadRecord as fault:
        yield Scanned(fault.at(path, row + 1 if row else 0, "record"))
        return
    counted = {"records": row, "frames": frames, "codes": codes}
    wrong = [] if known is None else [name for name, count in counted.items() if known[name] != count]
    if wrong:
        told = ", ".join(f"{counted[name]} {name}, not {known[name]}" for name in wrong)  # type: ignore[index]
        yield Scanned(BadRecord("", f"holds other counts than the index says ({told})", "ingest again", str(path)))


def _judged(
    table: Any, at: int, header: Mapping[str, Any], records: Records, path: Path, row: int
) -> tuple[Scanned, Entry | None]:
    try:
        entry = _entry(table, at)
        _check(entry, table.column("text")[at].as_py(), table.column("meta")[at].as_py(), header)
        record = {entry.kind: list(entry.codes), "text": entry.text}
        document = Records(
            order=records.order, seed=records.seed, codebook=header["codebook"], tokenizer=records.tokenizer
        ).document(record, f"{path}:{row}")
        names = (entry.kind, *(("text",) if entry.text else ()), "meta")
        return Scanned(None, f"{entry.kind}-text", document, names), entry
    except BadRecord as fault:
        return Scanned(fault.at(path, row, "record")), None


def _check(entry: Entry, text: str | None, meta: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raises `BadRecord` unless the record is what its header, its own counts and its hash say."""
    rows, columns = header["grid"]
    if entry.codes.shape[1] != rows * columns:
        raise BadRecord(entry.kind, f"has frames of {entry.codes.shape[1]} codes, not {rows}×{columns}", _FIX)
    low, high, most = entry.codes.min(), entry.codes.max(), header["codebook"]
    if low < 0 or high >= most:
        raise BadRecord(entry.kind, f"has codes out of range ({low}..{high}, of {most})", _FIX)
    if entry.kind == "image" and len(entry.codes) != 1:
        raise BadRecord("image", f"has {len(entry.codes)} frames, and a picture has one", _FIX)
    if not len(entry.codes) == len(entry.seconds) == meta["frames"]:
        what = f"({len(entry.codes)} frames, {len(entry.seconds)} seconds, said to be {meta['frames']})"
        raise BadRecord("meta.seconds", f"does not fit the frames {what}", _FIX)
    if not np.isfinite(entry.seconds).all() or (np.diff(entry.seconds) <= 0).any():
        raise BadRecord("meta.seconds", "does not rise from frame to frame", _FIX)
    if (text or "") != entry.text:
        raise BadRecord("text", "is another caption than its cues give", _FIX)
    if meta["hash"] != entry.hash:
        raise BadRecord("meta.hash", "does not fit what the record holds", _FIX)


def _entry(table: Any, at: int) -> Entry:
    """One row; `BadRecord` unless it is a picture or a video of whole frames of one size."""
    kinds = [kind for kind in ("image", "video") if table.column(kind)[at].is_valid]
    if len(kinds) != 1:
        raise BadRecord("", "holds no one of image and video", _FIX)
    frames = table.column(kinds[0])[at].values
    sizes = np.unique(frames.value_lengths().to_numpy(zero_copy_only=False)) if len(frames) else []
    if len(sizes) != 1 or not sizes[0] > 0 or frames.null_count or frames.flatten().null_count:
        raise BadRecord(kinds[0], "does not hold whole frames of one size", _FIX)
    codes = frames.flatten().to_numpy(zero_copy_only=False).reshape(len(frames), int(sizes[0]))
    row = {"meta": table.column("meta")[at].as_py()}
    return entry_of(row, codes.astype(np.int32), kinds[0])


def _read(path: Path, number: int) -> Any:
    try:
        return arrow().parquet.ParquetFile(path).read_row_group(number).combine_chunks()
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> BadRecord:
    said = str(error).splitlines()[0][:120]
    return BadRecord("", f"is damaged or cut off ({said})", "run `lwm ingest` again", str(path))
