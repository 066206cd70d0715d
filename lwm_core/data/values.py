"""What the value of a field may be: text, the ids of a modality, or frames of codes; and the text behind a path.

Owns these conversions and their messages. Which fields a record has is `records`'s.
"""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data.problems import BadRecord


LARGEST = 2**31 - 1
_NAMES = {str: "text", dict: "an object", bool: "true or false", type(None): "null", float: "a number", int: "a number"}


class Reading(NamedTuple):
    """How values are read: how many codes there are, and the folder that names of files start from."""

    codebook: int | None = None
    folder: str = ""


class Part(NamedTuple):
    """A piece of a field's value: text, local ids of a modality, or the path of a file that holds what is encoded."""

    modality: str
    content: str | np.ndarray


def described(value: Any) -> str:
    """The value's type in words, with a short look at it."""
    if isinstance(value, list):
        return f"a list ({len(value)} long)"
    if type(value) in (int, float, bool):
        return f"{_NAMES[type(value)]} ({str(value)[:20]})"
    return _NAMES.get(type(value), type(value).__name__)


def did_you_mean(name: str, known: Collection[str], cutoff: float = 0.6) -> str:
    near = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=cutoff)
    return f" (did you mean {near[0]!r}?)" if near else ""


def there_is(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f" (there is {near[0]!r})" if near else ""


def looked_up(record: Mapping[str, Any], path: str) -> Any:
    """The value at `a.b.0`, None where it is missing; a key that is the whole path comes first."""
    if path in record:
        return record[path]
    value: Any = record
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def text(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    raise BadRecord(field, f"is {described(value)}", "write text in quotes")


def content(value: Any, field: str, modality: str, how: Reading) -> Part:
    """Text for a string under modality "text"; else ids (a flat list), frames (a list of lists), or a file's path."""
    if isinstance(value, str):
        return Part("text", value) if modality == "text" else Part(modality, file_named(value, field, how.folder))
    if isinstance(value, list | np.ndarray) and len(value) and isinstance(value[0], list | np.ndarray):
        return Part(modality, frames(value, field, how.codebook))
    if isinstance(value, list | np.ndarray):
        return Part(modality, ids(value, field))
    expected = "write text in quotes, or a list of ids" if modality == "text" else "write codes, or the name of a file"
    raise BadRecord(field, f"is {described(value)}", expected)


def file_named(name: str, field: str, folder: str) -> str:
    """The path of a picture or clip, which a relative name has beside the file of the record."""
    if not name.strip():
        raise BadRecord(field, "is empty", "write codes, or the name of a file")
    if "://" in name:
        return name
    path = f"{folder}/{name}" if "://" in folder else str(Path(folder, name))
    if "://" not in path and not Path(path).is_file():
        raise BadRecord(field, f"names no file ({name[:100]!r})", f"put it into {folder or '.'}, or write its codes")
    return path


def ids(value: list | np.ndarray, field: str) -> np.ndarray:
    """int32 [n] from whole numbers of 0 or more."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iu":
        value = value.tolist()
    if isinstance(value, list) and set(map(type, value)) - {int}:  # also True and 1.0, which numpy would take
        at, item = next((i, v) for i, v in enumerate(value) if type(v) is not int)
        raise BadRecord(f"{field}[{at}]", f"is {described(item)}", "write a whole number")
    array = np.asarray(value)
    if array.dtype == object or (len(array) and (array.min() < 0 or array.max() > LARGEST)):
        at, bad = next((i, v) for i, v in enumerate(value) if not 0 <= int(v) <= LARGEST)
        raise BadRecord(f"{field}[{at}]", f"is out of range ({bad})", f"write an id from 0 to {LARGEST}")
    return array.astype(np.int32)


def frames(value: list | np.ndarray, field: str, codebook: int | None) -> np.ndarray:
    """Frames of codes as one run of ids: end-of-frame (`codebook`) after each but the last, then end-of-vision."""
    if codebook is None:
        raise BadRecord(
            field,
            "holds frames of codes (a list of lists)",
            "give the source `codebook`, the number of codes of the vision tokenizer (8192 for LWM's), so that it can "
            "close the frames; or write one flat list of ids with the markers in it (`lwm validate` takes --codebook)",
        )
    rows = [ids(row, f"{field}[{i}]") for i, row in enumerate(value) if _is_row(row, f"{field}[{i}]")]
    width = len(rows[0])
    for at, row in enumerate(rows):
        if not len(row) or len(row) != width:
            raise BadRecord(
                f"{field}[{at}]", f"is a frame of another size ({len(row)} codes, the first {width})", "make them equal"
            )
        if row.max() >= codebook:
            at_code = int(np.argmax(row >= codebook))
            raise BadRecord(
                f"{field}[{at}][{at_code}]",
                f"is out of range ({row[at_code]})",
                f"write a code from 0 to {codebook - 1} (codebook = {codebook}); frames hold no markers",
            )
    closing = np.full((len(rows), 1), codebook, np.int32)
    closing[-1] += 1
    return np.concatenate([np.stack(rows), closing], axis=1).reshape(-1)


def _is_row(row: Any, field: str) -> bool:
    if not isinstance(row, list | np.ndarray):
        raise BadRecord(field, f"is {described(row)}", "write one list of codes for each frame")
    return True
