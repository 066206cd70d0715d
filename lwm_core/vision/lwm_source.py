"""The source of files written for LWM's own code: JSON lines of text and flat codes, with its language of fields.

Owns where a record lies. What it means is `lwm_ids`'s. It does not import JAX.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data import Document
from lwm_core.data.files import ByteFile, expanded
from lwm_core.data.json_lines import line_table, record_of
from lwm_core.data.problems import BadRecord
from lwm_core.text import TextTokenizer
from lwm_core.vision.lwm_ids import LwmProcessor


@dataclass(frozen=True)
class LwmRecords:
    """One document for every line; the pipeline's renderer adds the markers at both ends, as LWM's dataset does.

    - `paths`: files and patterns, plain JSON lines; - `tokenizer`: in a recipe the pipeline's own;
    - the rest as in `LwmProcessor`.

    One thing differs: after a last field without loss the end marker carries none here, and does in LWM's code.
    """

    paths: tuple[Path | str, ...]
    tokenizer: TextTokenizer
    fields: tuple[str, ...] = ()
    fields_from: str = ""
    separator: str = " "
    prepend: str = ""
    most_frames: int = 0
    codes_per_frame: int = 256
    codebook_size: int = 8192

    def __post_init__(self):
        self.processor  # noqa: B018  (a bad option is an error now)
        if not len(self):
            raise ValueError(f"No record in {', '.join(map(str, self.paths))}: give JSON lines.")

    @cached_property
    def processor(self) -> LwmProcessor:
        """What makes spans of records."""
        return LwmProcessor(
            self.tokenizer, self.fields, self.fields_from, self.separator, self.prepend, self.most_frames,
            self.codes_per_frame, self.codebook_size,
        )  # fmt: skip

    def record(self, index: int) -> Mapping[str, Any]:
        """What line `index` says; lines are counted without blank ones."""
        file, (start, stop, line) = self._place(index)
        try:
            return record_of(file.read(int(start), int(stop)).rstrip(b"\r\n"))
        except BadRecord as fault:
            raise fault.at(file.name, int(line)) from fault.__cause__

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Document:
        file, (_, _, line) = self._place(index)
        try:
            spans = self.processor.spans(self.record(index), index % len(self))
        except BadRecord as fault:
            raise fault.at(file.name, int(line)) from fault.__cause__
        return Document(spans, f"{file.name}:{line}")

    def _place(self, index: int) -> tuple[ByteFile, np.ndarray]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        index %= len(self)
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        file, table = self._opened[number]
        return file, table[index - self._starts[number]]

    @cached_property
    def _opened(self) -> tuple[tuple[ByteFile, np.ndarray], ...]:
        opened = []
        for name in expanded(self.paths):
            file = ByteFile(str(name))
            with file.opened() as stream:
                opened.append((file, line_table(stream)))
        return tuple(opened)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(len(table) for _, table in self._opened)])
