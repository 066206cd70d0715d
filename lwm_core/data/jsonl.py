"""JSON lines as documents: one object a line, chosen fields in order.

Owns the mapping from fields to spans and its messages (file, line, field). Chat wording and length filters
are not here.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lwm_core.data.base import Document, Span
from lwm_core.data.files import as_paths, mapped, read_text


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


def _as_field(given: "str | Mapping | Field") -> Field:
    if isinstance(given, Field):
        return given
    options = {"name": given} if isinstance(given, str) else dict(given)
    unknown = set(options) - {"name", "modality", "loss"}
    if unknown or "name" not in options:
        raise ValueError(f"Field {given!r}: give name, and if needed modality and loss.")
    return Field(**options)


@dataclass(frozen=True)
class Jsonl:
    """Documents from JSON-lines files, read lazily; empty lines are passed over.

    - `paths`: the files, in order;
    - `fields`: what of a record becomes a span, in order: a name, or `{name, modality, loss}`.
    """

    paths: tuple[str, ...]
    fields: tuple[Field, ...] = (Field("text"),)

    def __post_init__(self):
        object.__setattr__(self, "paths", as_paths(self.paths))
        object.__setattr__(self, "fields", tuple(_as_field(f) for f in self.fields))
        if not self.fields:
            raise ValueError("No fields: name at least one, such as fields = ['text'].")
        if not len(self):
            raise ValueError(f"No record in {', '.join(self.paths)}: they hold empty lines only.")

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
        return Document(tuple(_span(record, field, place) for field in self.fields), place)


def _parse(text: str, place: str) -> dict:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f'{place}: not JSON ({error}): one object a line, such as {{"text": "..."}}.'
        ) from error
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
