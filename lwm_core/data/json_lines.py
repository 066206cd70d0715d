"""One line of a JSON-lines file to a record: every way in which its bytes can be wrong, named.

Owns decoding and parsing, and finding the lines of a file in bounded memory. What a record means is `records`'s.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lwm_core.data.problems import BadRecord


CHUNK = 1 << 22
UTF8_BOM = b"\xef\xbb\xbf"
_ESCAPED = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_SPACE = b" \t\r\n\v\f"


@runtime_checkable
class Bytes(Protocol):
    """An open file: local, remote or unpacked on the way."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


def record_of(raw: bytes) -> Any:
    """What a line says; raises `BadRecord` without a place. A byte-order mark at its start is passed over."""
    raw = raw.removeprefix(UTF8_BOM)
    if b"\0" in raw:
        raise nul_bytes(raw)
    words = decoded(raw)
    try:
        record = _parsed(words)
    except RecursionError:
        raise BadRecord("", "nests too deep", "write objects and lists at most a few levels deep") from None
    except json.JSONDecodeError as error:
        raise _not_json(words, error) from error
    except BadRecord:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise BadRecord("", f"not JSON ({error})", "write shorter numbers") from error
    if "\\" in words and _ESCAPED.search(words):  # only an escape can smuggle these in
        check_characters(record, "")
    return record


def _parsed(words: str) -> Any:
    if words[:1] == "{":  # nearly every line, and nothing follows: worth not looking for spaces around it
        record, stop = _DECODER.raw_decode(words)
        if stop == len(words):
            return record
    return _DECODER.decode(words)


def decoded(raw: bytes) -> str:
    """The text of UTF-8 bytes; raises `BadRecord` naming the byte, the place in the line and the way out."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line, {error.reason})"
        fix = "convert it, for example with `iconv -f latin1 -t utf-8`"
        if raw[error.start : error.start + 2] in (b"\xff\xfe", b"\xfe\xff"):
            fix = "this looks like UTF-16: convert it with `iconv -f utf-16 -t utf-8`"
        raise BadRecord("", what, fix) from error


def nul_bytes(raw: bytes) -> BadRecord:
    """What bytes with NUL among them are: UTF-16, or no text."""
    count = raw.count(b"\0")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or count * 3 > len(raw) > count + 1 > 2:
        return BadRecord("", f"not UTF-8 ({count} NUL bytes: UTF-16?)", "convert it with `iconv -f utf-16 -t utf-8`")
    return BadRecord("", f"NUL bytes ({count})", "the file was cut off while it was written: take the line out")


def _not_json(words: str, error: json.JSONDecodeError) -> BadRecord:
    at = max(0, error.pos - 20)
    near = words[at : error.pos + 20].strip()
    what = f"not JSON ({error.msg}, column {error.pos + 1}, near {near!r})"
    if words[:1] == "[" and not words.rstrip().endswith("]") or words.strip() in ("[", "]", "{", "}"):
        return BadRecord("", what, "write one whole object a line: `jq -c .[]` turns a JSON array into such lines")
    if error.pos >= len(words.rstrip()) or error.msg.startswith("Unterminated"):
        return BadRecord("", what, "the line ends too early: was the file cut off, or an object spread over lines?")
    return BadRecord("", what, 'write one object a line, such as {"text": "..."}')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise BadRecord(twice, "is there twice", "keep one of the two")
    return record


def _no_constant(name: str) -> Any:
    raise BadRecord("", f"not JSON ({name})", "write a number, or null")


def check_characters(value: Any, where: str) -> None:
    """Raises for half a surrogate pair and for NUL, which no tokenizer reads as text."""
    if isinstance(value, str):
        if found := _UNREADABLE.search(value):
            what = "a NUL character" if found.group() == "\0" else "half a surrogate pair"
            code = f"\\u{ord(found.group()):04x} at character {found.start() + 1}"
            raise BadRecord(where, f"holds {what} ({code})", "write \\ufffd in its place")
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f"{where}.{key.encode(errors='replace').decode()}".lstrip(".")
            check_characters(key, inner)
            check_characters(item, inner)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            check_characters(item, f"{where}[{at}]")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def is_blank(raw: bytes) -> bool:
    return not raw.strip(_SPACE)


def line_table(stream: Bytes) -> np.ndarray:
    """int64 [lines, 3]: first byte, one past the last byte (without the line's end), number from 1; no blank lines.

    One pass, in memory that grows with the number of lines and not with their length.
    """
    tables, start, number, begun = [], 0, 1, 0
    pending = b""  # the first bytes of a line that began in an earlier chunk, enough to see whether it is blank
    while chunk := stream.read(CHUNK):
        data = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(data == 10) + begun
        starts = np.concatenate([[start], ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
        table = np.stack([starts, ends, number + np.arange(len(ends))], axis=1)
        if len(ends):
            tables.append(table[_filled(table, chunk, begun, pending)])
            start, number, pending = int(ends[-1]) + 1, number + len(ends), b""
        pending = pending or chunk[max(0, start - begun) :].lstrip(_SPACE)[:1]
        begun += len(chunk)
    if pending:
        tables.append(np.asarray([[start, begun, number]]))
    return np.concatenate(tables).astype(np.int64) if tables else np.zeros((0, 3), np.int64)


def _filled(table: np.ndarray, chunk: bytes, begun: int, pending: bytes) -> np.ndarray:
    """Which lines of a chunk hold something: nearly always their first byte says so."""
    data = np.frombuffer(chunk, np.uint8)
    first = table[:, 0] - begun
    filled = (data[np.maximum(first, 0)] > 32) & (table[:, 1] > table[:, 0])
    for at in np.flatnonzero(~filled):
        filled[at] = not is_blank(chunk[max(0, first[at]) : table[at, 1] - begun])
    if first[0] < 0:
        filled[0] = bool(pending) or not is_blank(chunk[: table[0, 1] - begun])
    return filled


def lines(stream: Bytes, longest: int) -> Iterator[tuple[int, bytes | int]]:
    """(number, bytes) of every line that is not blank; for one longer than `longest`, its length instead."""
    number = 0
    while line := stream.readline(longest + 2):
        number += 1
        if len(line) < longest + 2 or line.endswith(b"\n"):
            if not is_blank(line):
                yield number, line.rstrip(b"\r\n")
            continue
        length = len(line)
        del line
        while rest := stream.readline(CHUNK):
            length += len(rest)
            if rest.endswith(b"\n"):
                length -= 1
                break
        yield number, length


def too_long(length: int, longest: int) -> BadRecord:
    return BadRecord(
        "",
        f"too long a line ({length} bytes, the limit is {longest})",
        "split the record, or raise `longest` if memory allows; a file without line ends is no JSON-lines file",
    )
