"""What one pass over a file yields: each record's document and kind, or its fault. Counts nothing itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lwm_core.data.base import Document
from lwm_core.data.problems import BadRecord
from lwm_core.data.records import Records


@dataclass(frozen=True)
class Scanned:
    """A record that was read: its fault, or its kind, document and the names of its fields."""

    fault: BadRecord | None
    kind: str = ""
    document: Document | None = None
    fields: tuple[str, ...] = ()


@runtime_checkable
class Scannable(Protocol):
    """A source whose files `lwm validate` can check: the class itself is asked, since nothing is indexed for it."""

    @staticmethod
    def scan(path: str, records: Records, longest: int) -> Iterator[Scanned]:
        """Every record of one file in turn, good or bad, in one pass and bounded memory."""
        ...
