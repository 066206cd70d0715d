"""Options that all sources of this plugin share: how many documents, how long. Owns their checks and the draw."""

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Sized(Protocol):
    """A source with lengths in tokens, ids that the renderer adds included."""

    documents: int
    shortest: int
    longest: int
    full: float
    markers: int


def check_lengths(source: Sized, least: int, what: str) -> None:
    """Raises `ValueError` naming the option when lengths do not fit together, or do not hold `least` ids."""
    if source.documents < 1:
        raise ValueError(f"documents={source.documents}: give at least 1.")
    if not source.shortest <= source.longest:
        raise ValueError(f"shortest={source.shortest}, longest={source.longest}: give shortest <= longest.")
    if source.shortest - source.markers < least:
        raise ValueError(
            f"shortest={source.shortest} does not hold {what}, up to {least} tokens of this tokenizer, and "
            f"{source.markers} markers: give at least {least + source.markers}."
        )


def draw_length(source: Sized, rng: np.random.Generator) -> int:
    """Ids for the document's own spans."""
    full = rng.random() < source.full
    length = source.longest if full else int(rng.integers(source.shortest, source.longest + 1))
    return length - source.markers


def check_index(source: Sized, index: int) -> None:
    if not 0 <= index < source.documents:
        raise IndexError(f"Document {index} of {source.documents}.")
