"""Which files of a folder are to be ingested, in which order, and with which captions.

Owns the walk, the kinds of file by their names, and the rule that nothing outside the folder is read. The other way
to choose, a list, is `manifest`'s.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lwm_core.vision.captions import SUFFIXES, Cue, read_captions
from lwm_ingest.problems import Ledger, Unreadable, printable


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".ogv", ".flv", ".wmv", ".3gp",
)  # fmt: skip
AUDIO = (".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aiff", ".wma")


@dataclass(frozen=True)
class Item:
    """A file to ingest: where it is, its name under the folder, its captions, and what the record says besides."""

    path: Path
    name: str
    kind: Literal["image", "video"]
    cues: tuple[Cue, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What to ingest, in order, and the names of files that are no picture, video or captions of one."""

    items: tuple[Item, ...]
    other: tuple[str, ...] = ()


def find(folder: Path, ledger: Ledger) -> Found:
    """The pictures and videos under a folder, sorted by name; links are followed as long as they stay inside."""
    names = sorted(_names(folder, ledger), key=lambda name: name.split("/"))
    media = {name for name in names if Path(name).suffix.lower() in (*PICTURES, *VIDEOS)}
    stems = {name[: -len(Path(name).suffix)] for name in media}
    items, other = [], []
    for name in names:
        suffix = Path(name).suffix.lower()
        if name in media or suffix in AUDIO:
            item = item_of(folder, name, ledger)
            items += [] if item is None else [item]
        elif suffix not in SUFFIXES or name[: -len(suffix)] not in stems:
            other.append(printable(name))
    return Found(tuple(items), tuple(other))


def item_of(
    folder: Path,
    name: str,
    ledger: Ledger,
    cues: tuple[Cue, ...] | None = None,
    meta: Mapping[str, Any] | None = None,
    place: str = "",
) -> Item | None:
    """The file of this name, with the captions beside it if none are given; None after a fault.

    - `place`: what the fault is called by; by default the name.
    """
    try:
        path = within(folder, name)
        kind = _kind(path)
        cues = _beside(path) if cues is None else cues
        _check_text(name, cues)
        return Item(path, name, kind, cues, meta or {})
    except Unreadable as fault:
        ledger.add(place or name, fault.kind, str(fault))
        return None


def within(folder: Path, name: str) -> Path:
    """The path of a plain file inside the folder, links followed."""
    path = folder / name
    try:
        real, root = path.resolve(), folder.resolve()
        there = real.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a ring of links; a NUL in a name; one too long
        raise Unreadable("no such file", f"its path leads nowhere ({error}).") from error
    if not real.is_relative_to(root):
        raise Unreadable("outside the folder", f"leads outside of the folder, to {real}: copy the file into it.")
    if not there:
        raise Unreadable("no such file", "there is no such file in the folder.")
    if not real.is_file():
        raise Unreadable("no plain file", "is no plain file (a folder, pipe or device).")
    if not os.access(real, os.R_OK):
        raise Unreadable("not readable", "may not be read: change its permissions.")
    if not real.stat().st_size:
        raise Unreadable("empty file", "is empty (0 bytes).")
    return path


def _check_text(name: str, cues: tuple[Cue, ...]) -> None:
    """Half surrogate pairs come from names in an old encoding, and from escapes in JSON; no table holds them."""
    if printable(name) != name:
        raise Unreadable("name", "its name is not UTF-8: rename it.")
    for cue in cues:
        if printable(cue.text) != cue.text:
            raise Unreadable("captions", f"its caption {printable(cue.text)[:60]!r} is not Unicode: write it again.")


def _names(folder: Path, ledger: Ledger) -> Iterator[str]:
    def unlisted(error: OSError) -> None:
        name = Path(error.filename or folder)
        ledger.add(f"{name.relative_to(folder)}/", "not readable", f"cannot be listed ({error.strerror}).")

    for here, folders, files in os.walk(folder, onerror=unlisted):
        at = Path(here).relative_to(folder)
        for name in sorted(folders):
            if (Path(here) / name).is_symlink():  # walked into, it could go in rings or leave the folder
                ledger.add((at / name).as_posix(), "linked folder", "is a link to a folder, which is not followed.")
        yield from ((at / name).as_posix() for name in files)


def _kind(path: Path) -> Literal["image", "video"]:
    suffix = path.suffix.lower()
    if suffix in AUDIO:
        raise Unreadable("audio", "is audio, which has no frames.")
    if suffix in PICTURES:
        return "image"
    if suffix in VIDEOS:
        return "video"
    known = ", ".join((*PICTURES, *VIDEOS))
    raise Unreadable("no picture or video", f"its ending {suffix!r} is of no picture or video; those are {known}.")


def _beside(path: Path) -> tuple[Cue, ...]:
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise Unreadable("captions", f"has several files of captions beside it ({names}): keep one.")
    if not found:
        return ()
    try:
        return read_captions(within(path.parent, found[0].name))
    except Unreadable as fault:
        raise Unreadable("captions", f"its captions {found[0].name}: {fault}") from fault
    except UnicodeDecodeError as error:
        raise Unreadable("captions", f"its captions {found[0].name} are not UTF-8 ({error.reason}).") from error
    except (ValueError, OSError) as error:
        said = str(error).replace(str(found[0]), found[0].name)
        raise Unreadable("captions", f"its captions cannot be read: {said}") from error
