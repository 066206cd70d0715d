"""JSON lines as documents: one object a line, chosen fields in order.

Owns the mapping from fields to spans and its messages (file, line, field). Chat wording and length filters
are not here.
"""

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lwm_core.data.base import Document, Span
from lwm_core.data.files import check_paths, mapped, read_text


@dataclass(frozen=True)
class Field:
    """One field of the record as a span.

    - `name`: the key; its value is a string for text, a list of the modality's own ids otherwise (also for
      text that is already tokenised);
    - `modality`, `loss`: as in `Span`.
    """

    name: str
    modality: str = "text"
    loss: float = 1.0


@dataclass(frozen=True)
class Jsonl:
    """Documents from JSON-lines files, read lazily; empty lines are passed over.

    - `paths`: the files, in order;
    - `fields`: what of a record becomes a span, in order: a `Field`, or its name alone.
    """

    paths: tuple[Path | str, ...]
    fields: tuple[Field | str, ...] = (Field("text"),)

    def __post_init__(self):
        check_paths(self.paths)
        if not self.fields:
            raise ValueError("No fields: name at least one, such as fields = ['text'].")
        if not len(self):
            raise ValueError(f"No record in {', '.join(map(str, self.paths))}: they hold empty lines only.")

    @cached_property
    def _index(self) -> np.ndarray:
        """[records, 4]: file, first byte, one past the last byte, line."""
        rows = []
        for number, path in enumerate(self.paths):
            with mapped(path) as data:
                start = 0
                for line, content in enumerate(iter(data.readline, b""), start=1):
                    if content.strip():
                        rows.append((number, start, start + len(content), line))
                    start += len(content)
        return np.asarray(rows, np.int64).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Document:
        number, start, stop, line = (int(x) for x in self._index[index])
        path = self.paths[number]
        place = f"{path}:{line}"
        record = _parse(read_text(path, start, stop, line), place)
        return Document(tuple(_span(record, _as_field(f), place) for f in self.fields), place)


def _as_field(given: Field | str) -> Field:
    return Field(given) if isinstance(given, str) else given


def _parse(text: str, place: str) -> dict:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(f'{place}: not JSON ({error}): one object a line, such as {{"text": "..."}}.') from error
    if not isinstance(record, dict):
        raise ValueError(f'{place}: a {type(record).__name__}, not an object: write {{"text": ...}}.')
    return record


def _span(record: dict, field: Field, place: str) -> Span:
    if field.name not in record:
        near = difflib.get_close_matches(field.name, record, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{place}: no field {field.name!r}, it has {', '.join(record) or 'none'}.{hint}")
    value = record[field.name]
    if isinstance(value, str):
        return Span(field.modality, value, field.loss)
    if isinstance(value, list) and all(type(v) is int for v in value):
        return Span(field.modality, np.asarray(value, np.int32), field.loss)
    raise ValueError(
        f"{place}: field {field.name!r} is {type(value).__name__}: give a string or a list of whole numbers."
    )
