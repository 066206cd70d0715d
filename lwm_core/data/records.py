"""Records to documents: the one parser behind every source of records, whatever file they came from.

Owns what a record means under the schema, under chosen `fields`, or under a `template`. Reading files is each
source's, the schema `schema`'s, and how messages read `chat`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lwm_core.data.base import Document, Span
from lwm_core.data.chat import Chat, no_marker
from lwm_core.data.messages import asked, messages, vision
from lwm_core.data.problems import BadRecord
from lwm_core.data.schema import VERSION, kind_of, missing, present
from lwm_core.data.template import Template
from lwm_core.data.values import Reading, content, described, looked_up, text
from lwm_core.data.wording import Joined, pair_spans
from lwm_core.text import TextTokenizer


Order = Literal["swap", "text-first", "vision-first"]


@dataclass(frozen=True)
class Field:
    """One field of the record as a span.

    - `name`: the key; its value is a string for text, a list of the modality's own ids otherwise (also for
      text that is already tokenised), or frames of codes;
    - `modality`, `loss`: as in `Span`.
    """

    name: str
    modality: str = "text"
    loss: float = 1.0


@dataclass(frozen=True)
class Records:
    """How records become documents. Sources of records take these as their own options.

    - `fields`: what of a record becomes a span, in order: a `Field`, or its name alone;
    - `template`: text around fields, with loss in brackets (`lwm_core.data.template`). Neither: the schema;
    - `chat`: the wording of messages, and of questions and answers;
    - `order`: of a caption and its picture or clip; "swap" draws it for every record from `seed`;
    - `codebook`: how many codes the vision tokenizer has, to close frames written as lists of codes;
    - `tokenizer`: for markers in templates; in a recipe the pipeline's own.
    """

    fields: tuple[Field | str, ...] = ()
    template: str = ""
    chat: Chat = Chat()
    order: Order = "swap"
    seed: int = 0
    codebook: int | None = None
    tokenizer: TextTokenizer | None = None

    def __post_init__(self):
        if self.fields and self.template:
            raise ValueError("Both fields and template are given: give one; a template says which fields it takes.")
        if self.order not in ("swap", "text-first", "vision-first"):
            raise ValueError(f"order={self.order!r}: give swap, text-first or vision-first.")
        if self.codebook is not None and self.codebook < 1:
            raise ValueError(f"codebook={self.codebook}: give the number of codes, such as 8192, or leave it out.")
        if self.template:
            self._template.check("template")
        for name in (*self._template.markers, *self.chat.markers):
            self._marker(name)

    @property
    def stamp(self) -> Any:
        """JSON that changes when a record may become another document."""
        plain = [[[f.name, f.modality, f.loss] for f in self._fields], self.template, asdict(self.chat)]
        return [VERSION, *plain, self.order, self.seed, self.codebook]

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The fields that are read; None where the schema decides."""
        if self.fields:
            return tuple(field.name for field in self._fields)
        return self._template.fields if self.template else None

    @property
    def required(self) -> tuple[str, ...]:
        """Those of `columns` that every record must have."""
        if self.fields:
            return tuple(field.name for field in self._fields)
        return self._template.required if self.template else ()

    def kind(self, record: Mapping[str, Any]) -> str:
        """What the record is, for counts: a kind of the schema, or which option reads it."""
        if self.columns is not None:
            return "fields" if self.fields else "template"
        return kind_of(record).name

    def alone(self, record: Any) -> str:
        """The text of a good record that the schema reads as nothing else, as most are; "" for any other."""
        if type(record) is dict and len(record) == 1 and self.columns is None:
            said = record.get("text")
            return said if type(said) is str and _says(said) else ""
        return ""

    def document(self, record: Any, name: str, draw: tuple[int, ...] = (0,), folder: str = "") -> Document:
        """The document; raises `BadRecord`, which says no place.

        - `draw`: what the order of a pair is drawn from; - `folder`: where the files are that a record names. They
          become spans that hold a path, for something that encodes; the renderer takes codes only.
        """
        how = Reading(self.codebook, folder)
        if not isinstance(record, Mapping):
            raise BadRecord("", f"not an object but {described(record)}", 'write one object a record, {"text": ...}')
        if self.fields:
            spans: Sequence[Span] = [self._field(record, field, how) for field in self._fields]
        elif self.template:
            spans = self._templated(record, how)
        else:
            spans = self._by_schema(record, draw, how)
        if not any(_says(span.content) for span in spans):
            raise BadRecord("", "is empty", "give it text, or take the record out")
        meta = record.get("meta") if self.columns is None else None
        return Document(tuple(spans), name, meta or {})

    @cached_property
    def _template(self) -> Template:
        return Template(self.template)

    @cached_property
    def _fields(self) -> tuple[Field, ...]:
        return tuple(Field(f) if isinstance(f, str) else f for f in self.fields)

    def _field(self, record: Mapping, field: Field, how: Reading) -> Span:
        value = looked_up(record, field.name)
        if value is None:
            raise missing(record, field.name)
        part = content(value, field.name, field.modality, how)
        return Span(part.modality, part.content, field.loss)

    def _templated(self, record: Mapping, how: Reading) -> Sequence[Span]:
        joined, said = Joined(), False
        for piece in self._template.pieces:
            if piece.kind == "text":
                joined.add("text", piece.value, piece.loss)
            elif piece.kind == "marker":
                joined.add("text", self._marker(piece.value), piece.loss)
            elif (value := looked_up(record, piece.value)) is not None:
                part = content(value, piece.value, piece.modality, how)
                said = said or _says(part.content)
                joined.add(part.modality, part.content, piece.loss)
            elif not piece.optional:
                raise missing(record, piece.value)
        return joined.spans if said else ()

    def _marker(self, name: str) -> np.ndarray:
        if self.tokenizer is None:
            return no_marker(name)
        markers = self.tokenizer.markers
        if name not in markers:
            raise ValueError(f"{{@{name}}}: the tokenizer has no such marker; it has {', '.join(sorted(markers))}.")
        return np.asarray([markers[name]], np.int32)

    def _by_schema(self, record: Mapping, draw: tuple[int, ...], how: Reading) -> Sequence[Span]:
        kind, record = kind_of(record).name, present(record)
        if kind == "text":
            return (Span("text", text(record["text"], "text")),)
        if kind == "chat":
            return self.chat.spans(messages(record["messages"], how), self._marker)
        if kind == "qa":
            return self.chat.spans(asked(record, how), self._marker)
        return self._pair(record, kind.removesuffix("-text"), draw, how)

    def _pair(self, record: Mapping, key: str, draw: tuple[int, ...], how: Reading) -> Sequence[Span]:
        if "text" in record and "caption" in record:
            raise BadRecord("caption", "says the same as 'text'", "keep one of the two")
        name = "caption" if "caption" in record else "text"
        caption = text(record.get(name, ""), name)
        ids = vision(record[key], key, how).content
        text_first = self.order == "text-first"
        if self.order == "swap":
            text_first = bool(np.random.default_rng([self.seed, *draw]).integers(2))
        return pair_spans(caption, ids, text_first=text_first)


def _says(content: str | np.ndarray) -> bool:
    """Whether there is anything to read: not nothing, and not only spaces."""
    return bool(content.strip()) if isinstance(content, str) else bool(len(content))
