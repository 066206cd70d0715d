"""A figure that somebody published, and how far it is trusted.

Owns the record alone. Schedules made of figures live in plugins; `lwm describe` shows them beside the stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable


T = TypeVar("T")
Trust = Literal["confirmed", "recalled", "derived", "chosen"]


@dataclass(frozen=True)
class Figure(Generic[T]):
    """A value and where it is from.

    - `trust`: "confirmed" in a source that can be looked up; "recalled", a memory of the paper that nobody could look
      up; "derived" by arithmetic from others; "chosen" here, where the source says nothing;
    - `note`: the source, how sure a memory is, or what was rounded.
    """

    value: T
    trust: Trust
    note: str = ""


@runtime_checkable
class Published(Protocol):
    """A curriculum that somebody published: what its source says of each stage, by stage name and figure name."""

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]: ...
