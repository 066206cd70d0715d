"""A packer that keeps kinds of samples apart: one inner packer a group, so that no row holds two groups.

Owns which group a source belongs to. How rows are filled is the inner packer's. Source: LWM packs UltraChat to the
training length and keeps it apart from its questions and answers, which have a hundredth of the loss tokens
(arXiv 2402.08268, chat stages).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

from lwm_core.data.base import Packer, Row, Sample


@runtime_checkable
class Grouped(Protocol):
    """The second face of a packer that keeps groups apart: who knows it can ask for a group's rows as needed.

    `lwm_core.load` does, and so meets a mixture's shares row by row.
    """

    def group_of(self, source: str) -> str:
        """The group of a source's samples."""
        ...

    def packer_of(self, group: str) -> Packer:
        """What fills the rows of a group."""
        ...


@dataclass(frozen=True)
class ApartPacker:
    """Rows of one group each.

    - `length`: tokens in a row;
    - `inner`: the packer of every group, here for rows of `length`, whatever its own length was;
    - `groups`: group → the sources that may share its rows, such as `{ chat = ["ultrachat", "sharegpt"] }`. A
      source that no group names is a group of its own, called as the source.
    """

    length: int
    inner: Packer
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        groups = self._groups
        for group, sources in self.groups.items():
            for source in sources:
                if groups[source] != group:
                    raise ValueError(f"Source {source!r} is in groups {group!r} and {groups[source]!r}: name it once.")
        self._packer  # noqa: B018  (a length that the inner packer refuses is an error now)

    def group_of(self, source: str) -> str:
        """The group of a source's samples."""
        return self._groups.get(source, source)

    def packer_of(self, group: str) -> Packer:
        """What fills the rows of a group: the same for each."""
        return self._packer

    def init(self) -> dict[str, Any]:
        return {}

    def push(self, state: dict[str, Any], sample: Sample) -> tuple[dict[str, Any], list[Row]]:
        """Takes one sample; returns the rows of its group that are now complete."""
        group = self.group_of(sample.source)
        after, rows = self._packer.push(state.get(group, self._packer.init()), sample)
        return {**state, group: after}, rows

    def flush(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """Pads and returns what is left by group; the state then holds what inner packers counted, if any."""
        flushed = {group: self._packer.flush(kept) for group, kept in state.items()}
        counted = {group: after for group, (after, _) in flushed.items() if after != self._packer.init()}
        return counted, [row for _, rows in flushed.values() for row in rows]

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {source: group for group, sources in self.groups.items() for source in sources}

    @cached_property
    def _packer(self) -> Packer:
        return replace(cast(Any, self.inner), length=self.length)
