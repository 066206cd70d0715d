"""Plain text files as documents: by chapter, by paragraph, or in windows of a fixed size.

Owns where a document begins and ends in a file. It tokenises nothing; `Renderer` does.
"""

import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lwm_core.data.base import Document, documents_of
from lwm_core.data.files import ByteFile, expanded, in_groups, is_url, randomly
from lwm_core.data.json_lines import UTF8_BOM, decoded, lines, nul_bytes, too_long
from lwm_core.data.kept import Kept, fault_of, kept_of
from lwm_core.data.problems import BadRecord, LeftOut, OnError, check_on_error, place_of
from lwm_core.data.records import Records
from lwm_core.data.scan import Scanned


_NEWLINE = rb"(?:\r?\n)"
SEPARATORS = {"chapters": re.compile(_NEWLINE + rb"{3,}"), "paragraphs": re.compile(_NEWLINE + rb"{2,}")}


@dataclass(frozen=True)
class TextFiles:
    """Documents cut from UTF-8 text files, read lazily.

    - `paths`: files and patterns, in order; local or any fsspec URL (a remote one is read whole once, to find where
      documents begin); `.gz` and `.zst` are unpacked into `cache`;
    - `split`: "chapters" (between two or more empty lines), "paragraphs" (between empty lines), "windows", or
      "files" (one document a file);
    - `window`: for "windows", bytes of a document, moved forward to the next whole character;
    - `start`, `stop`: the part of every file to use, as fractions of its bytes, each moved forward to the
      next empty line. The same fraction is the same place under every `split`, so `stop=0.95` to train and
      `start=0.95` to evaluate share nothing;
    - `on_error`, `cache`: as in `Jsonl`.
    """

    paths: tuple[Path | str, ...]
    split: Literal["chapters", "paragraphs", "windows", "files"] = "chapters"
    window: int = 4096
    start: float = 0.0
    stop: float = 1.0
    on_error: OnError = "fail"
    cache: Path | None = None

    def __post_init__(self):
        check_on_error(self.on_error)
        if self.split not in ("chapters", "paragraphs", "windows", "files"):
            raise ValueError(f"split={self.split!r}: give chapters, paragraphs, windows or files.")
        if self.window < 4:
            raise ValueError(f"window={self.window}: give at least 4 bytes, the longest character of UTF-8.")
        if not 0.0 <= self.start < self.stop <= 1.0:
            raise ValueError(f"start={self.start}, stop={self.stop}: give 0 <= start < stop <= 1.")
        if not len(self):
            names = ", ".join(map(str, self.paths))
            if self.on_error == "skip" and self.left_out.count:
                raise ValueError(f"No text in {names}: {self.left_out}.")
            raise ValueError(f"No text from {self.start} to {self.stop} of {names}: give a larger part.")

    @staticmethod
    def scan(path: str, records: Records, longest: int) -> Iterator[Scanned]:
        """Every line that is not empty, in turn, as a text of its own; `records` has nothing to say here."""
        line = 0
        with ByteFile(path).opened() as stream:
            try:
                for line, raw in lines(stream, longest):
                    yield _scanned(raw, path, line, longest)
            except BadRecord as damage:
                yield Scanned(damage.after(line))

    @property
    def left_out(self) -> LeftOut:
        """What `on_error = "skip"` left out."""
        return self._kept.report

    @cached_property
    def _files(self) -> tuple[str, ...]:
        return expanded(self.paths)

    @cached_property
    def _opened(self) -> tuple[tuple[ByteFile, BadRecord | None], ...]:
        opened = []
        for name in self._files:
            file, fault = randomly(name, self.cache)
            if fault is None and not file.size:
                fault = BadRecord("", "is empty", "remove it from `paths`, or put text in it", name)
            if fault is not None and self.on_error == "fail":
                raise fault
            opened.append((file, fault))
        return tuple(opened)

    @cached_property
    def _index(self) -> np.ndarray:
        """[documents, 4]: file, first byte, one past the last byte, line of the first byte."""
        return np.concatenate([self._index_file(i, file) for i, (file, _) in enumerate(self._opened)])

    def _index_file(self, number: int, file: ByteFile) -> np.ndarray:
        with _mapped(file) as data:
            first, last = _boundary(data, self.start), _boundary(data, self.stop)
            bounds = [(a, b) for a, b in self._cut(data, first, last) if data[a:b].strip()]
            rows, line, counted = [], 1, 0
            for a, b in bounds:
                line += data[counted:a].count(b"\n")
                counted = a
                rows.append((number, a, b, line))
        return np.asarray(rows, np.int64).reshape(-1, 4)

    def _cut(self, data, first: int, last: int) -> list[tuple[int, int]]:
        if self.split == "files":
            return [(first, last)]
        if self.split == "windows":
            edges = [first]
            while edges[-1] < last:
                edges.append(min(last, _whole_character(data, edges[-1] + self.window)))
            return list(zip(edges, edges[1:], strict=False))
        gaps = [m.span() for m in SEPARATORS[self.split].finditer(data, first, last)]
        return list(zip([first, *(b for _, b in gaps)], [*(a for a, _ in gaps), last], strict=True))

    @cached_property
    def _kept(self) -> Kept:
        if self.on_error == "fail":
            return Kept(len(self._index))
        whole = [fault for _, fault in self._opened if fault is not None]
        names = ", ".join(map(str, self.paths))
        stamp = self.stamp if self.cache is not None else None
        return kept_of(len(self._index), self._faults, whole, stamp, self.cache, names)

    def _faults(self, block: range) -> list[BadRecord | None]:
        return [fault_of(self._document, place) for place in block]

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        how = [self.split, self.window, self.start, self.stop, self.on_error]
        return [[ByteFile(name).stamp for name in self._files], *how]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Document:
        return self._document(self._kept[index])

    def many(self, indices: Sequence[int]) -> Sequence[Document]:
        """The documents of these indices, each file asked once whether it is still the same."""
        kept = self._kept
        return self._documents([kept[index] for index in indices])

    def _document(self, place: int) -> Document:
        return self._documents([place])[0]

    def _documents(self, places: Sequence[int]) -> Sequence[Document]:
        rows = self._index[list(places)]
        return documents_of(in_groups(rows[:, 0], lambda number, at: self._read(number, rows[at])))

    def _read(self, number: int, rows: np.ndarray) -> Iterator[tuple[str, str]]:
        """The texts that these rows of the index tell of, all of one file, and their names."""
        name, line = self._files[number], 0
        _, starts, stops, numbers = rows.T.tolist()
        raws = self._opened[number][0].reads(zip(starts, stops, strict=True))
        try:
            for raw, start, line in zip(raws, starts, numbers, strict=True):
                yield _text(raw, line, at_start=start == 0), f"{name}:{line}"
        except BadRecord as fault:
            raise fault.at(name, line) from fault.__cause__


def _text(raw: bytes, line: int, at_start: bool) -> str:
    """The text of bytes; line ends become `\\n`, a byte-order mark at the start of the file goes."""
    raw = raw.removeprefix(UTF8_BOM) if at_start else raw
    if b"\0" in raw:
        raise nul_bytes(raw)
    try:
        return decoded(raw).replace("\r\n", "\n")
    except BadRecord as fault:
        cause = fault.__cause__
        assert isinstance(cause, UnicodeDecodeError)
        at = line + raw[: cause.start].count(b"\n")
        what = f"not UTF-8 (byte 0x{raw[cause.start]:02x}, {cause.reason})"
        raise BadRecord("", what, fault.fix, line=at) from cause


def _scanned(raw: bytes | int, path: str, line: int, longest: int) -> Scanned:
    try:
        if isinstance(raw, int):
            raise too_long(raw, longest)
        if b"\0" in raw:
            raise nul_bytes(raw)
        return Scanned(None, "text", Document.of_text(decoded(raw.removeprefix(UTF8_BOM)), place_of(path, line)))
    except BadRecord as fault:
        return Scanned(fault.at(path, line))


@contextmanager
def _mapped(file: ByteFile) -> Iterator[mmap.mmap | bytes]:
    """The file's bytes, a local one's without reading them all."""
    if is_url(file.name) or not file.size:
        yield file.read(0, file.size)
        return
    with open(file.name, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _boundary(data, fraction: float) -> int:
    if fraction in (0.0, 1.0):
        return int(fraction * len(data))
    gap = SEPARATORS["paragraphs"].search(data, int(fraction * len(data)))
    return gap.end() if gap else len(data)


def _whole_character(data, at: int) -> int:
    while at < len(data) and data[at] & 0xC0 == 0x80:  # a continuation byte of UTF-8
        at += 1
    return at
