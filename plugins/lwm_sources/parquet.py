"""Parquet files as documents, read a row group at a time and only the columns that are needed.

Owns where a row lies. What a record means is `lwm_core.data.records`'s. A row costs its row group the first time;
`hold` groups stay decoded, and the stream shuffles an epoch so that each group is decoded once (`windows`).
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lwm_core.data import BadRecord, Chat, Document, Field, LeftOut, Records
from lwm_core.data.files import ByteFile, expanded, filesystem, is_url
from lwm_core.data.kept import Kept, fault_of, kept_of
from lwm_core.data.order import windows_within
from lwm_core.data.problems import OnError, check_on_error, place_of
from lwm_core.data.records import Order
from lwm_core.data.scan import Scanned
from lwm_core.text import TextTokenizer
from lwm_sources.rows import columns_of, record_at


_AT_ONCE = 256


@dataclass(frozen=True)
class Parquet:
    """Documents from the rows of Parquet files.

    - `paths`: files and patterns, in order; local or any fsspec URL, of which only what is needed is fetched;
    - `fields`, `template`, `chat`, `order`, `seed`, `codebook`, `tokenizer`: what a row means, as in `Records`; a null
      is a field that is not there;
    - `on_error`, `cache`: as in `Jsonl`; - `hold`: row groups that stay decoded, half of
      which are shuffled together.
    """

    paths: tuple[Path | str, ...]
    fields: tuple[Field | str, ...] = ()
    template: str = ""
    chat: Chat = Chat()
    order: Order = "swap"
    seed: int = 0
    codebook: int | None = None
    tokenizer: TextTokenizer | None = None
    on_error: OnError = "fail"
    hold: int = 4
    cache: Path | None = None

    def __post_init__(self):
        check_on_error(self.on_error)
        if self.hold < 1:
            raise ValueError(f"hold={self.hold}: hold at least 1 row group.")
        if not len(self):
            why = str(self.left_out) if self.left_out.count else "they have no row"
            raise ValueError(f"No record in {', '.join(map(str, self.paths))}: {why}.")

    @staticmethod
    def scan(path: str, records: Records, longest: int) -> Iterator[Scanned]:
        """Every row of one file in turn, good or bad, a few at a time."""
        try:
            file = opened(path)
            columns = columns_of(file.schema_arrow.names, records)
        except BadRecord as fault:
            yield Scanned(fault.at(path, 0))
            return
        row = 0
        try:
            for batch in file.iter_batches(_AT_ONCE, columns=columns):
                for at in range(len(batch)):
                    row += 1
                    yield _scanned(batch, at, path, row, records)
        except (OSError, ValueError) as error:
            yield Scanned(_damage(error).at(path, row + 1, "row"))

    @property
    def left_out(self) -> LeftOut:
        """What `on_error = "skip"` left out."""
        return self._kept.report

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        return [[ByteFile(name).stamp for name in self._files], self._records.stamp, self.on_error]

    @property
    def windows(self) -> np.ndarray:
        """Documents of one row group are read together (see `lwm_core.data.order`)."""
        chosen = self._kept.chosen
        return self._starts if chosen is None else windows_within(self._starts, chosen)

    @property
    def together(self) -> int:
        return max(1, self.hold // 2)  # threads read ahead: of the next windows while these are still needed

    @property
    def in_order(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Document:
        return self._document(self._kept[index])

    def __getstate__(self) -> dict[str, Any]:
        # Decoded groups and their lock stay here; what is known of the files travels.
        return {key: value for key, value in self.__dict__.items() if key != "_held"}

    @cached_property
    def _records(self) -> Records:
        return Records(**{f.name: getattr(self, f.name) for f in fields(Records)})

    @cached_property
    def _files(self) -> tuple[str, ...]:
        return expanded(self.paths)

    @cached_property
    def _indexed(self) -> tuple[list[tuple[int, int, int, int]], list[list[str]], list[BadRecord]]:
        """Of each row group: file, group, rows, row of the file it begins at; columns of each file; faults of files."""
        groups, columns, faults = [], [], []
        for number, name in enumerate(self._files):
            columns.append([])
            try:
                file = opened(name)
                columns[-1] = columns_of(file.schema_arrow.names, self._records)
            except BadRecord as fault:
                faults.append(fault.at(name, 0))
                if self.on_error == "fail":
                    raise faults[-1] from fault.__cause__
                continue
            begin = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                groups.append((number, group, rows, begin))
                begin += rows
        return groups, columns, faults

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(rows for _, _, rows, _ in self._indexed[0])]).astype(np.int64)

    @cached_property
    def _kept(self) -> Kept:
        total = int(self._starts[-1])
        if self.on_error == "fail":
            return Kept(total)
        stamp = self.stamp if self.cache is not None else None
        what = ", ".join(map(str, self.paths))
        return kept_of(total, self._faults, self._indexed[2], stamp, self.cache, what)

    def _faults(self, block: range) -> list[BadRecord | None]:
        return [fault_of(self._document, record) for record in block]

    def _document(self, record: int) -> Document:
        at = int(np.searchsorted(self._starts, record, "right")) - 1
        number, _, _, begin = self._indexed[0][at]
        name, row = self._files[number], record - int(self._starts[at])
        place = place_of(name, begin + row + 1, "row")
        try:
            given = record_at(self._group(at), row)
            return self._records.document(given, place, (number, begin + row), name.rpartition("/")[0])
        except BadRecord as fault:
            raise fault.at(name, begin + row + 1, "row") from fault.__cause__

    @cached_property
    def _held(self) -> "_Held":
        return _Held(self.hold)

    def _group(self, at: int) -> Any:
        number, group, _, _ = self._indexed[0][at]
        return self._held.get(at, lambda: _read(self._files[number], group, self._indexed[1][number]))


class _Held:
    """The last few row groups, for all threads of a process."""

    def __init__(self, most: int):
        self._most, self._lock, self._tables = most, Lock(), OrderedDict()

    def get(self, key: int, read) -> Any:
        with self._lock:
            if key not in self._tables:
                self._tables[key] = read()
            self._tables.move_to_end(key)
            while len(self._tables) > self._most:
                self._tables.popitem(last=False)
            return self._tables[key]


def opened(name: str) -> Any:
    """The file, of which only the footer has been read; `BadRecord` where it is no whole Parquet file."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'lwm-jax[data]'.") from error
    if not ByteFile(name).size:
        raise BadRecord("", "is empty", "remove it from `paths`, or write rows to it", name)
    try:
        if is_url(name):
            system, path = filesystem(name)
            return parquet.ParquetFile(system.open(path, "rb"))
        return parquet.ParquetFile(name, memory_map=True)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _damage(error).at(name, 0) from error


def _damage(error: Exception) -> BadRecord:
    return BadRecord(
        "", f"is damaged, cut off, or no Parquet file ({str(error).splitlines()[0][:200]})", "write it again"
    )


def _read(name: str, group: int, columns: list[str]) -> Any:
    try:
        return opened(name).read_row_group(group, columns=columns)
    except BadRecord:
        raise
    except (OSError, ValueError) as error:
        raise _damage(error) from error


def _scanned(batch: Any, at: int, path: str, row: int, records: Records) -> Scanned:
    try:
        record = record_at(batch, at)
        document = records.document(record, place_of(path, row, "row"), folder=path.rpartition("/")[0])
        return Scanned(None, records.kind(record), document, tuple(n for n, v in record.items() if v is not None))
    except BadRecord as fault:
        return Scanned(fault.at(path, row, "row"))
