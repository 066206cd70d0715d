"""JSON lines as documents: one object a line, in local or remote files, plain or packed.

Owns where a record lies in its file, and which records are left out when bad ones are. What a record means is
`records`'s, how a line can be wrong `json_lines`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data.base import Document, documents_of
from lwm_core.data.chat import Chat
from lwm_core.data.files import ByteFile, expanded, in_groups, randomly
from lwm_core.data.json_lines import line_table, lines, record_of, too_long
from lwm_core.data.kept import Kept, fault_of, kept_of
from lwm_core.data.problems import BadRecord, LeftOut, OnError, check_on_error, place_of
from lwm_core.data.records import Field, Order, Records
from lwm_core.data.scan import Scanned
from lwm_core.text import TextTokenizer


LONGEST = 1 << 26


@dataclass(frozen=True)
class Jsonl:
    """Documents from JSON-lines files, read lazily; empty lines are passed over.

    - `paths`: files and patterns, in order; local or any fsspec URL; `.gz` and `.zst` are unpacked into `cache`;
    - `fields`, `template`, `chat`, `order`, `seed`, `codebook`, `tokenizer`: what a record means, as in `Records`;
    - `on_error`: at a bad record, "fail" when it is read, or "skip" it: every record is then checked once, on first
      use, and what was left out is in `left_out` and in the log;
    - `longest`: bytes of a line; a longer one is a bad record and is never held in memory;
    - `cache`: the folder for what is made once (see `cache_folder`); with it, the check for "skip" is kept too.
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
    longest: int = LONGEST
    cache: Path | None = None

    def __post_init__(self):
        check_on_error(self.on_error)
        self._records  # noqa: B018  (a bad option is an error now)
        if not len(self):
            raise ValueError(f"No record in {', '.join(map(str, self.paths))}: {self._why_empty()}.")

    @staticmethod
    def scan(path: str, records: Records, longest: int = LONGEST) -> Iterator[Scanned]:
        """Every record of one file in turn, good or bad, in one pass and bounded memory."""
        line = 0
        with ByteFile(path).opened() as stream:
            try:
                for line, raw in lines(stream, longest):
                    yield _scanned(raw, path, line, records, longest)
            except BadRecord as damage:
                yield Scanned(damage.after(line))

    @property
    def left_out(self) -> LeftOut:
        """What `on_error = "skip"` left out."""
        return self._kept.report

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        return [[ByteFile(name).stamp for name in self._files], self._records.stamp, self.on_error, self.longest]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Document:
        return self._document(self._kept[index])

    def many(self, indices: Sequence[int]) -> Sequence[Document]:
        """The documents of these indices, each file asked once whether it is still the same."""
        kept = self._kept
        return self._documents([kept[index] for index in indices])

    @cached_property
    def _records(self) -> Records:
        return Records(self.fields, self.template, self.chat, self.order, self.seed, self.codebook, self.tokenizer)

    @cached_property
    def _files(self) -> tuple[str, ...]:
        return expanded(self.paths)

    @cached_property
    def _opened(self) -> tuple[tuple[ByteFile, np.ndarray, tuple[BadRecord, ...]], ...]:
        """Of each file, what to read from, its records, and what is wrong with it as a whole."""
        return tuple(self._open(name) for name in self._files)

    def _open(self, name: str) -> tuple[ByteFile, np.ndarray, tuple[BadRecord, ...]]:
        file, damage = randomly(name, self.cache)
        with file.opened() as stream:
            table = line_table(stream)
        faults = []
        if damage is not None:
            if len(table) and table[-1, 1] == file.size:
                table = table[:-1]  # the line in which the file breaks off
            faults.append(damage.after(int(table[-1, 2]) if len(table) else 0))
        elif not file.size:
            faults.append(BadRecord("", "is empty", "remove it from `paths`, or put records in it", name))
        if faults and self.on_error == "fail":
            raise faults[0]
        return file, table, tuple(faults)

    @cached_property
    def _starts(self) -> np.ndarray:
        """The number of records before each file, and of all."""
        return np.cumsum([0, *(len(table) for _, table, _ in self._opened)])

    @cached_property
    def _kept(self) -> Kept:
        total = int(self._starts[-1])
        if self.on_error == "fail":
            return Kept(total)
        whole = [fault for _, _, faults in self._opened for fault in faults]
        stamp = self.stamp if self.cache is not None else None
        return kept_of(total, self._faults, whole, stamp, self.cache, ", ".join(map(str, self.paths)))

    def _faults(self, block: range) -> list[BadRecord | None]:
        return [fault_of(self._document, record) for record in block]

    def _document(self, record: int) -> Document:
        return self._documents([record])[0]

    def _documents(self, records: Sequence[int]) -> Sequence[Document]:
        wanted = np.asarray(records, np.int64)
        files = self._starts.searchsorted(wanted, "right") - 1
        return documents_of(in_groups(files, lambda number, at: self._read(number, wanted[at] - self._starts[number])))

    def _read(self, number: int, records: np.ndarray) -> Iterator[tuple[str | Document, str]]:
        """These records of one file, as a text or a document, and their names."""
        file, table, _ = self._opened[number]
        name, means = self._files[number], self._records
        folder, line = name.rpartition("/")[0], 0
        starts, stops, numbers = table[records].T.tolist()
        for start, stop, line in zip(starts, stops, numbers, strict=True):
            if stop - start > self.longest:
                raise too_long(stop - start, self.longest).at(name, line)
        try:
            for raw, line in zip(file.reads(zip(starts, stops, strict=True)), numbers, strict=True):
                record, place = record_of(raw.rstrip(b"\r\n")), f"{name}:{line}"
                yield means.alone(record) or means.document(record, place, (number, line), folder), place
        except BadRecord as fault:
            raise fault.at(name, line) from fault.__cause__

    def _why_empty(self) -> str:
        if self.on_error == "skip" and self.left_out.count:
            return f"{self.left_out}"
        return "they hold empty lines only"


def _scanned(raw: bytes | int, path: str, line: int, records: Records, longest: int) -> Scanned:
    try:
        if isinstance(raw, int):
            raise too_long(raw, longest)
        record = record_of(raw)
        document = records.document(record, place_of(path, line), folder=path.rpartition("/")[0])
        return Scanned(None, records.kind(record), document, tuple(record))
    except BadRecord as fault:
        return Scanned(fault.at(path, line))
