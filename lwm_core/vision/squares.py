"""Made-up pictures and clips of coloured squares, each with a question about it and a short answer.

Owns the rule by which document i is made, from (seed, index) alone. Codes are those of `patch-mean` with 4 levels.
Vision tokens outnumber those of the answer by far, as in the data that masked packing was made for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lwm_core.data import Document, Span


# Code of red r, green g, blue b in levels 0..3: 16 r + 4 g + b. The first letters of the names differ.
COLOURS = {"red": 48, "green": 12, "blue": 3, "yellow": 60, "white": 63, "orange": 52, "purple": 34, "cyan": 15}
DARK = (0, 1, 4, 5, 16, 17, 20, 21)  # what the rest of a picture is made of, at random
CODES = 64
ASKED = {1: ("colour",), 2: ("left", "right")}


@dataclass(frozen=True)
class SquareQuestions:
    """`documents` documents: `frames` pictures of `side` by `side` codes, a question, and a colour such as " red".

    A square keeps its colour and moves at random from frame to frame: over the picture, or of two each in its half.

    - `frames`: 1 for a picture, more for a clip;
    - `squares`: 1, asked for by " colour?", or 2, one of which is asked for by " left?" or " right?";
    - `vision_loss`, `answer_loss`: how much each token counts as a target; the question never does;
    - `seed`: another seed gives other documents, such as held-out ones.
    """

    documents: int = 100_000
    frames: int = 1
    side: int = 4
    squares: Literal[1, 2] = 1
    vision_loss: float = 1.0
    answer_loss: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name, least in (("documents", 1), ("frames", 1), ("side", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")
        if self.squares not in ASKED:
            raise ValueError(f"squares={self.squares}: give 1 or 2.")

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < self.documents:
            raise IndexError(f"Document {index} of {self.documents}.")
        rng = np.random.default_rng([self.seed, index])
        names = [str(name) for name in rng.choice(list(COLOURS), self.squares, replace=False)]
        asked = int(rng.integers(self.squares))
        question = ASKED[self.squares][asked]
        spans = (
            Span("vision", self._ids(rng, [COLOURS[name] for name in names]), self.vision_loss),
            Span("text", f" {question}?", 0.0),
            Span("text", f" {names[asked]}", self.answer_loss),
        )
        return Document(spans, f"squares:{self.seed}:{index}", {"colours": tuple(names), "asked": question})

    def _ids(self, rng: np.random.Generator, codes: list[int]) -> np.ndarray:
        """Frames of codes, each closed by its marker, as `frames_to_ids` closes them."""
        pictures = rng.choice(DARK, (self.frames, self.side, self.side))
        edges = [self.side * k // len(codes) for k in range(len(codes) + 1)]
        for picture in pictures:
            for code, first, last in zip(codes, edges[:-1], edges[1:], strict=True):
                picture[rng.integers(self.side), rng.integers(first, last)] = code
        closing = np.full((self.frames, 1), CODES)
        closing[-1] += 1
        return np.concatenate([pictures.reshape(self.frames, -1), closing], axis=1).reshape(-1).astype(np.int32)
