"""How long a document is: what all sources of this plugin share. Owns the checks and the draw."""

from typing import NamedTuple

import numpy as np


class Lengths(NamedTuple):
    """Lengths in tokens, drawn evenly, of which `full` of the documents have the longest.

    `markers` of them are what the renderer adds to a document.
    """

    shortest: int
    longest: int
    full: float
    markers: int

    def check(self, least: int, what: str) -> None:
        """Raises `ValueError` naming the option when they do not fit together, or do not hold `least` ids."""
        if self.shortest > self.longest:
            raise ValueError(f"shortest={self.shortest}, longest={self.longest}: give shortest <= longest.")
        if self.shortest - self.markers < least:
            raise ValueError(
                f"shortest={self.shortest} does not hold {what}, up to {least} tokens of this tokenizer, and "
                f"{self.markers} markers: give at least {least + self.markers}."
            )

    def draw(self, rng: np.random.Generator) -> int:
        """Ids for a document's own spans."""
        full = rng.random() < self.full
        length = self.longest if full else int(rng.integers(self.shortest, self.longest + 1))
        return length - self.markers


def generator(documents: int, seed: int, index: int) -> np.random.Generator:
    """What document `index` of `documents` is drawn from; raises `IndexError` outside them."""
    if not 0 <= index < documents:
        raise IndexError(f"Document {index} of {documents}.")
    return np.random.default_rng([seed, index])
