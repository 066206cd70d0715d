"""What an evaluator measures with, and training must not see. Owns the record and the contract only."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lwm_core.data import DataSource


@dataclass(frozen=True)
class Withheld:
    """- `words`: names and numbers that answer its questions; - `documents`: text that it reads, if it reads any."""

    words: tuple[str, ...] = ()
    documents: DataSource | None = None


@runtime_checkable
class Withholding(Protocol):
    """An evaluator that can say what of its data a model must not have learnt."""

    def withheld(self) -> Withheld: ...
