"""Plain text files as documents: by chapter, by paragraph, or in windows of a fixed size.

Owns where a document begins and ends in a file. It tokenises nothing; `Renderer` does.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from lwm_core.data.base import Document
from lwm_core.data.files import check_paths, mapped, read_text


_NEWLINE = rb"(?:\r?\n)"
SEPARATORS = {"chapters": re.compile(_NEWLINE + rb"{3,}"), "paragraphs": re.compile(_NEWLINE + rb"{2,}")}


@dataclass(frozen=True)
class TextFiles:
    """Documents cut from UTF-8 text files, read lazily.

    - `paths`: the files, in order;
    - `split`: "chapters" (between two or more empty lines), "paragraphs" (between empty lines), "windows", or
      "files" (one document a file);
    - `window`: for "windows", bytes of a document, moved forward to the next whole character;
    - `start`, `stop`: the part of every file to use, as fractions of its bytes, each moved forward to the
      next empty line. The same fraction is the same place under every `split`, so `stop=0.95` to train and
      `start=0.95` to evaluate share nothing.
    """

    paths: tuple[Path | str, ...]
    split: Literal["chapters", "paragraphs", "windows", "files"] = "chapters"
    window: int = 4096
    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self):
        check_paths(self.paths)
        if self.split not in ("chapters", "paragraphs", "windows", "files"):
            raise ValueError(f"split={self.split!r}: give chapters, paragraphs, windows or files.")
        if self.window < 4:
            raise ValueError(f"window={self.window}: give at least 4 bytes, the longest character of UTF-8.")
        if not 0.0 <= self.start < self.stop <= 1.0:
            raise ValueError(f"start={self.start}, stop={self.stop}: give 0 <= start < stop <= 1.")
        if not len(self):
            raise ValueError(
                f"No text from {self.start} to {self.stop} of {', '.join(map(str, self.paths))}: give a larger part."
            )

    @cached_property
    def _index(self) -> np.ndarray:
        """[documents, 4]: file, first byte, one past the last byte, line of the first byte."""
        return np.concatenate([self._index_file(i, path) for i, path in enumerate(self.paths)])

    def _index_file(self, number: int, path: Path | str) -> np.ndarray:
        with mapped(path) as data:
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

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Document:
        number, start, stop, line = (int(x) for x in self._index[index])
        path = self.paths[number]
        return Document.of_text(read_text(path, start, stop, line), f"{path}:{line}")


def _boundary(data, fraction: float) -> int:
    if fraction in (0.0, 1.0):
        return int(fraction * len(data))
    gap = SEPARATORS["paragraphs"].search(data, int(fraction * len(data)))
    return gap.end() if gap else len(data)


def _whole_character(data, at: int) -> int:
    while at < len(data) and data[at] & 0xC0 == 0x80:  # a continuation byte of UTF-8
        at += 1
    return at
