"""Captions beside a clip: what is shown from when to when, from `.srt`, `.json` or `.txt`.

Owns the three formats and the choice of the sentence for a stretch of film. It does not import JAX.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwm_core.data.values import did_you_mean


SUFFIXES = (".srt", ".json", ".txt")
_KEYS = ("start", "stop", "text")
_EXAMPLE = 'write {"start": 0, "stop": 4, "text": "..."}'
_TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{3})"
_ARROW = re.compile(rf"{_TIME}\s*-->\s*{_TIME}")


@dataclass(frozen=True)
class Cue:
    """`text` holds from `start` to `stop`, in seconds of the clip."""

    start: float
    stop: float
    text: str


def sidecar(clip: Path) -> Path:
    """The captions file beside a clip: the same name with another suffix."""
    found = [clip.with_suffix(suffix) for suffix in SUFFIXES if clip.with_suffix(suffix).is_file()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(clip.with_suffix(suffix).name for suffix in SUFFIXES)
    what = f"has several captions files ({', '.join(path.name for path in found)})" if found else "has no captions"
    raise ValueError(f"{clip} {what} beside it: keep one of {names}, or name it in `captions`.")


def read_captions(path: Path) -> tuple[Cue, ...]:
    """The cues of a file, in its order; raises `ValueError` naming the file and the place."""
    if not path.is_file():
        raise FileNotFoundError(f"No captions at {path}: give a file that ends in {', '.join(SUFFIXES)}.")
    readers = {".srt": _srt, ".json": _json, ".txt": _whole}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: captions are read from {', '.join(SUFFIXES)}, not {path.suffix!r}.")
    cues = readers[path.suffix.lower()](path, path.read_text(encoding="utf-8-sig"))
    if not cues:
        raise ValueError(f"{path} holds no caption: write at least one sentence.")
    for cue in cues:
        if not cue.text or cue.stop <= cue.start:
            raise ValueError(
                f"{path}: the caption {cue.text!r} from {cue.start} s to {cue.stop} s: give text and time."
            )
    return cues


def cue_of(record: Any) -> Cue:
    """The cue that a JSON object tells of, the whole clip where it has no times; `ValueError` says what is wrong."""
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError(f"has no `text`: {_EXAMPLE}.")
    for name in record:
        if name not in _KEYS:
            raise ValueError(f"has the key {name!r}, which is none of {', '.join(_KEYS)}{did_you_mean(name, _KEYS)}.")
    times = []
    for name, without in (("start", 0.0), ("stop", math.inf)):
        time = record.get(name, without)
        if isinstance(time, bool) or not isinstance(time, int | float) or not time >= 0:
            raise ValueError(f"has the {name} {time!r}: give seconds, 0 or more.")
        times.append(float(time))
    start, stop = times
    text = record["text"].strip()
    if not text or not start < stop:
        raise ValueError(f"has no text, or does not stop after it starts ({start} s to {stop} s): give text and time.")
    return Cue(start, stop, text)


def caption_for(cues: Sequence[Cue], start: float, stop: float) -> str:
    """The text that covers most of a stretch, the earlier one of equals; empty when none touches it."""
    best, most = "", 0.0
    for cue in cues:
        shared = min(stop, cue.stop) - max(start, cue.start)
        if shared > most:
            best, most = cue.text, shared
    return best


def _srt(path: Path, text: str) -> tuple[Cue, ...]:
    cues = []
    for block in re.split(r"\n\s*\n", text.strip().replace("\r\n", "\n")):
        lines = block.split("\n")
        timed = [(index, match) for index, line in enumerate(lines[:2]) if (match := _ARROW.search(line))]
        if not timed:
            raise ValueError(f"{path}: no line `00:00:00,000 --> 00:00:01,000` in the block {block[:60]!r}.")
        at, match = timed[0]
        found = [int(part) for part in match.groups()]
        start, stop = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (found[:4], found[4:]))
        cues.append(Cue(start, stop, " ".join(line.strip() for line in lines[at + 1 :]).strip()))
    return tuple(cues)


def _json(path: Path, text: str) -> tuple[Cue, ...]:
    """A list of `{"start": s, "stop": s, "text": ...}`, or `{"text": ...}` for the whole clip."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg}).") from error
    except RecursionError as error:
        raise ValueError(f"{path}: its lists are nested too deeply: {_EXAMPLE}.") from error
    records = data if isinstance(data, list) else [data]
    cues = []
    for index, record in enumerate(records):
        try:
            cues.append(cue_of(record))
        except ValueError as error:
            raise ValueError(f"{path}: caption {index} {error}") from error
    return tuple(cues)


def _whole(path: Path, text: str) -> tuple[Cue, ...]:
    joined = " ".join(text.split())
    return (Cue(0.0, float("inf"), joined),) if joined else ()
