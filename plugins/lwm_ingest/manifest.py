"""A list of what to ingest: JSON lines that name a file of the folder and its caption.

Owns the keys of a line and the messages for what is wrong with one. Order and repetitions are the list's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_core.data.json_lines import record_of
from lwm_core.data.problems import BadRecord
from lwm_core.data.values import described, did_you_mean
from lwm_core.vision.captions import Cue, cue_of
from lwm_ingest.find import Found, Item, item_of
from lwm_ingest.problems import Ledger, Unreadable


KEYS = ("file", "text", "cues", "meta")
_EXAMPLE = 'write {"file": "a/clip.mp4", "text": "what it shows"}'


def listed(manifest: Path, folder: Path, ledger: Ledger) -> Found:
    """The files that the lines of a manifest name, in its order; names start from the folder."""
    if not manifest.is_file():
        raise FileNotFoundError(f"No manifest {manifest}: give a file of JSON lines; {_EXAMPLE}.")
    text = manifest.read_bytes()
    if not text.strip():
        raise ValueError(f"The manifest {manifest} is empty: {_EXAMPLE} in it, a file to a line.")
    items = []
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip():
            continue
        item = _item(raw, folder, f"{manifest.name}:{number}", ledger)
        items += [] if item is None else [item]
    return Found(tuple(items))


def _item(raw: bytes, folder: Path, place: str, ledger: Ledger) -> Item | None:
    try:
        record = _record(raw)
        cues = _cues(record)
    except Unreadable as fault:
        ledger.add(place, fault.kind, str(fault))
        return None
    name = record["file"]
    return item_of(folder, name, ledger, cues, record.get("meta", {}), f"{place} ({name})")


def _record(raw: bytes) -> Mapping[str, Any]:
    try:
        record = record_of(raw)
    except BadRecord as error:
        raise _wrong(f"{error}") from error
    if not isinstance(record, dict):
        raise _wrong(f"is not an object but {described(record)}: {_EXAMPLE}.")
    for name in record:
        if name not in KEYS:
            raise _wrong(f"has the key {name!r}, which is none of {', '.join(KEYS)}{did_you_mean(name, KEYS)}.")
    if "text" in record and "cues" in record:
        raise _wrong("has both 'text' and 'cues': give one of them.")
    if "file" not in record or not {"text", "cues"} & record.keys():
        lacks = "'file'" if "file" not in record else "one of 'text' and 'cues'"
        raise _wrong(f'lacks the key {lacks}: {_EXAMPLE}; "text": "" is no caption.')
    for name, kind in (("file", str), ("text", str), ("cues", list), ("meta", dict)):
        if name in record and not isinstance(record[name], kind):
            raise _wrong(f"its {name!r} is {described(record[name])}: {_EXAMPLE}.")
    return record


def _cues(record: Mapping[str, Any]) -> tuple[Cue, ...]:
    if "text" in record:
        words = " ".join(record["text"].split())
        return (Cue(0.0, float("inf"), words),) if words else ()
    cues = []
    for at, cue in enumerate(record["cues"]):
        try:
            cues.append(cue_of(cue))
        except ValueError as error:
            raise _wrong(f"its cue {at} {error}") from error
    return tuple(cues)


def _wrong(problem: str) -> Unreadable:
    return Unreadable("manifest line", problem)
