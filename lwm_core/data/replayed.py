"""Random access to what can only be read in order: a stream that says where it stands, and can go on from there.

Owns the window of documents that is held, and the places to go back to. Its documents have numbers like those of any
source, so a training stream over it resumes exactly. Reading the stream itself is its owner's.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, runtime_checkable

from lwm_core.data.base import Document
from lwm_core.data.problems import BadRecord, LeftOut, Tally


@runtime_checkable
class Tape(Protocol):
    """A stream of documents, or of faults where a record is bad, that can be wound to a place."""

    def __next__(self) -> Document | BadRecord: ...

    def place(self) -> Any:
        """Where it stands, as JSON: opened there, it gives what this one gives next."""
        ...


class Replayed:
    """`replayed[i]`: the i-th good document of a tape, through windows of `window` documents.

    - `open_at`: a tape from a place, or from its beginning for None;
    - `window`, `together`: documents that are read at a time, and how many such windows are held;
    - `skip`: pass over faults (counted in `left_out`, as far as the tape was read) instead of raising them;
    - `places`: a file in which places are kept for another process, or None.

    Going on costs nothing; going back costs at most the window that holds the document, or, where no place before it
    is known, the tape from its beginning. Safe in threads; each process has a tape of its own.
    """

    def __init__(
        self,
        open_at: Callable[[Any], Tape],
        window: int,
        together: int,
        skip: bool,
        places: Path | None = None,
    ):
        self._open_at, self._window, self._together, self._skip = open_at, window, together, skip
        self._file, self._lock = places, RLock()
        self._places: dict[int, Any] = {0: None}
        if places is not None and places.exists():
            self._places |= {int(key): place for key, place in json.loads(places.read_text("utf-8")).items()}
        self._held: OrderedDict[int, list[Document]] = OrderedDict()
        self._tape: Tape | None = None
        self._next = 0
        self._faults, self._read, self._counted = Tally(), 0, 0

    def __getitem__(self, index: int) -> Document | None:
        """None past the tape's end."""
        number, at = divmod(index, self._window)
        with self._lock:
            if number not in self._held:
                self._reach(number)
            documents = self._held.get(number, [])
            if number in self._held:
                self._held.move_to_end(number)
            return documents[at] if at < len(documents) else None

    @property
    def left_out(self) -> LeftOut:
        return self._faults.report(self._read)

    def _reach(self, number: int) -> None:
        known = max(place for place in self._places if place <= number)
        if self._tape is None or not known <= self._next <= number:
            self._tape, self._next = self._open_at(self._places[known]), known
        while self._next <= number:
            documents = self._window_of(self._tape)
            self._held[self._next] = documents
            while len(self._held) > self._together:
                self._held.popitem(last=False)
            self._next += 1
            if len(documents) < self._window:
                self._tape = None  # at its end
                return
            if self._next not in self._places:
                self._places[self._next] = self._tape.place()
                self._keep()

    def _window_of(self, tape: Tape) -> list[Document]:
        fresh = self._next >= self._counted
        documents: list[Document] = []
        while len(documents) < self._window:
            try:
                found = next(tape)
            except StopIteration:
                break
            if fresh:
                self._read += 1
            if isinstance(found, Document):
                documents.append(found)
            elif self._skip:
                if fresh:
                    self._faults.add(found)
            else:
                self._tape = None
                raise found
        self._counted = max(self._counted, self._next + 1)
        return documents

    def _keep(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        making = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        making.write_text(json.dumps(self._places), "utf-8")
        making.replace(self._file)


def places_file(cache: Path | None, stamp: Any) -> Path | None:
    """Where the places of one stream are kept."""
    if cache is None:
        return None
    key = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()[:32]
    return Path(cache) / "places" / f"{key}.json"
