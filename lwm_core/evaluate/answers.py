"""Loss and accuracy of short answers: the last span of each held-out document, given all before it.

Owns what counts as an answer. Every document stands alone in its row, as it would when a person asks.
"""

from dataclasses import dataclass

import numpy as np

from lwm_core.data import DataSource, Renderer, Row
from lwm_core.evaluate.base import Evaluation, Subject
from lwm_core.evaluate.score import batches, best_next, token_losses


@dataclass(frozen=True)
class Answers:
    """Over the first `documents` of `source`: mean loss (nats) of an answer's tokens, and how many are right.

    - `begin`: a marker of the vocabulary before each document, as in training, or None;
    - `batch_tokens`: tokens in one forward.

    An answer is right when each of its tokens is the model's first choice, which is what greedy decoding writes. The
    loss is the mean over answers of each answer's mean.
    """

    source: DataSource
    documents: int = 256
    begin: str | None = "text.bos"
    batch_tokens: int = 8192

    def __post_init__(self):
        if self.documents < 1 or self.batch_tokens < 1:
            raise ValueError(f"documents={self.documents}, batch_tokens={self.batch_tokens}: give at least 1.")

    def __call__(self, subject: Subject) -> Evaluation:
        rows = self._rows(subject)
        losses, right, tokens = [], 0, 0
        for batch, count in batches(rows, self.batch_tokens):
            wanted = np.stack([row.loss for row in batch]) > 0
            found = token_losses(subject.model, batch).astype(np.float64)
            losses += ((found * wanted).sum(axis=1) / wanted.sum(axis=1))[:count].tolist()
            right += int(self._right(subject, batch, wanted)[:count].sum())
            tokens += int(wanted[:count].sum())
        facts = {
            "documents": len(rows),
            "tokens": tokens,
            "loss": float(np.mean(losses)),
            "accuracy": right / len(rows),
        }
        return Evaluation("answers", (facts,), facts)

    def _right(self, subject: Subject, batch: list[Row], wanted: np.ndarray) -> np.ndarray:
        """Whether each row's answer is what the model would say."""
        ends = wanted.shape[1] - wanted[:, ::-1].argmax(axis=1)  # answers end their documents, and are of many lengths
        places = np.maximum(ends[:, None] - 1 - np.arange(wanted.sum(axis=1).max()), 1)
        best = best_next(subject.model, batch, places - 1)
        tokens = np.stack([row.tokens for row in batch])
        asked = np.take_along_axis(wanted, places, axis=1)
        return ((best == np.take_along_axis(tokens, places, axis=1)) | ~asked).all(axis=1)

    def _rows(self, subject: Subject) -> list[Row]:
        render = Renderer(subject.vocabulary, subject.tokenizer, begin=self.begin, end=None, empty="skip")
        rendered = []
        for index in range(min(self.documents, len(self.source))):
            document = self.source[index]
            sample = render(document)
            if sample is None:
                continue
            before = render(type(document)(document.spans[:-1], document.name))
            first = 1 if before is None else max(1, len(before))
            if first < len(sample):
                rendered.append((sample.tokens, first))
        if not rendered:
            raise ValueError(f"No answer among {len(self.source)} documents: the last span of each is its answer.")
        length = max(len(tokens) for tokens, _ in rendered)
        return [_row(tokens, first, length) for tokens, first in rendered]


def _row(tokens: np.ndarray, first: int, length: int) -> Row:
    """One document, padded; what counts is what stands from `first` on."""
    count, pad = len(tokens), (0, length - len(tokens))
    wanted = (np.arange(length) >= first) & (np.arange(length) < count)
    segment, position = np.ones(count, np.int32), np.arange(count, dtype=np.int32)
    return Row(np.pad(tokens, pad), np.pad(segment, pad), np.pad(position, pad), wanted.astype(np.float32))
