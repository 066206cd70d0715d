"""The template language: which fields of a record become text or codes, in which order, and which carry loss.

    USER: {question}\\n ASSISTANT:[ {answer}{@eos}]

- `{name}` is a field; `{a.b.0}` goes into objects and lists, `{name?}` may be missing, `{name:vision}` holds codes;
- `{@eos}` is a marker of the tokenizer;
- `[...]` carries loss, everything else none; `[0.5|...]` carries half. Brackets do not nest;
- `{{`, `}}`, `[[` and `]]` are the plain characters.

Owns the grammar and its messages. Nothing is evaluated; what a field's value may be is `records`'s.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


_TOKEN = re.compile(r"\{\{|\}\}|\[\[|\]\]|[{}\[\]]")
_WEIGHT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\|")
_NAME = re.compile(r"(@?)([^{}\[\]:?@]+)(\??)(?::([A-Za-z_][\w-]*))?\Z")
HELP = "Fields are {name}, loss is [...]; write {{ }} [[ ]] for the characters themselves."


class Piece(NamedTuple):
    """A stretch of literal text, a field or a marker, and how much it counts as a target."""

    kind: str  # "text", "field" or "marker"
    value: str
    loss: float
    modality: str = "text"
    optional: bool = False


@dataclass(frozen=True)
class Template:
    """A parsed template; `ValueError` with the column and a caret where it cannot be read."""

    source: str

    def __post_init__(self):
        self.pieces  # noqa: B018  (a bad template is an error now, not at the first record)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple(_parsed(self.source))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that must or may be there, each once, in order."""
        return tuple(dict.fromkeys(piece.value for piece in self.pieces if piece.kind == "field"))

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that must be there."""
        return tuple(dict.fromkeys(p.value for p in self.pieces if p.kind == "field" and not p.optional))

    @property
    def markers(self) -> tuple[str, ...]:
        """The markers of the tokenizer that it names."""
        return tuple(dict.fromkeys(piece.value for piece in self.pieces if piece.kind == "marker"))

    def check(self, option: str) -> None:
        """Raises when no field is named, or nothing carries loss."""
        if not self.fields:
            raise ValueError(f"{option} = {self.source!r} names no field, so every record is the same text. {HELP}")
        if not any(piece.loss > 0 for piece in self.pieces):
            raise ValueError(
                f"{option} = {self.source!r}: nothing carries loss, so nothing would be learned: put what the model "
                f"should say in brackets, such as [{{{self.fields[-1]}}}]. {HELP}"
            )


def _parsed(source: str) -> Sequence[Piece]:
    pieces: list[Piece] = []
    literal, loss, opened, at = "", 0.0, -1, 0

    def close():
        nonlocal literal
        if literal:
            pieces.append(Piece("text", literal, loss))
        literal = ""

    while at < len(source):
        found = _TOKEN.search(source, at)
        if found is None:
            literal += source[at:]
            break
        literal += source[at : found.start()]
        token, at = found.group(), found.end()
        if len(token) == 2:
            literal += token[0]
        elif token == "{":
            close()
            stop = source.find("}", at)
            if stop < 0:
                raise _error(source, found.start(), "'{' is never closed")
            pieces.append(_substitution(source, at, stop, loss))
            at = stop + 1
        elif token == "[":
            if opened >= 0:
                raise _error(source, found.start(), "'[' inside of brackets")
            close()
            weight = _WEIGHT.match(source, at)
            opened, loss, at = found.start(), float(weight[1]) if weight else 1.0, weight.end() if weight else at
        elif token == "]" and opened >= 0:
            close()
            loss, opened = 0.0, -1
        else:
            raise _error(source, found.start(), f"{token!r} closes nothing")
    if opened >= 0:
        raise _error(source, opened, "'[' is never closed")
    close()
    return pieces


def _substitution(source: str, start: int, stop: int, loss: float) -> Piece:
    found = _NAME.match(source[start:stop])
    if not found or found[2] != found[2].strip():
        raise _error(source, start, f"{source[start:stop]!r} is no field, such as name, name?, name:vision or @eos")
    marker, name, optional, modality = found.groups()
    if marker:
        if optional or modality:
            raise _error(source, start, "a marker takes no '?' and no modality")
        return Piece("marker", name, loss)
    return Piece("field", name, loss, modality or "text", bool(optional))


def _error(source: str, at: int, what: str) -> ValueError:
    before = source[max(0, at - 40) : at].replace("\n", " ")
    line = source[max(0, at - 40) : at + 40].replace("\n", " ")
    return ValueError(f"Template, column {at + 1}: {what}. {HELP}\n  {line}\n  {' ' * len(before)}^")
