"""The evaluator interface: measures a model and returns records. Owns the contract only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lwm_core.model.base import AbstractSequenceModel
from lwm_core.text.base import TextTokenizer
from lwm_core.vocab import Vocabulary


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, and how to write to it."""

    model: AbstractSequenceModel
    tokenizer: TextTokenizer
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Evaluation:
    """`records` are rows of a table (plain JSON values), `summary` the few numbers to quote."""

    name: str
    records: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Evaluator(Protocol):
    """Deterministic: the same subject gives the same evaluation."""

    def __call__(self, subject: Subject) -> Evaluation: ...


@runtime_checkable
class Pictured(Protocol):
    """An evaluator that can also draw what it measured."""

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """Writes one picture (its format by the suffix) with a panel or line for each title → evaluation."""
        ...
