"""Perplexity by position in the context, on held-out documents.

Owns how documents become windows and how losses are gathered into buckets of positions. A model that uses its
context gets better as the position grows; one asked beyond what it was trained on gets worse.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lwm_core.data import DataSource, Renderer, Row
from lwm_core.evaluate.base import Evaluation, Subject
from lwm_core.evaluate.picture import draw_by_position
from lwm_core.evaluate.score import batches, token_losses
from lwm_core.evaluate.withheld import Withheld


@dataclass(frozen=True)
class Perplexity:
    """Mean loss (nats) and its exponential over ranges of positions.

    - `source`: held-out documents, cut into windows of `context` tokens; a shorter rest is a window too;
    - `windows`: how many to measure, from the first document on;
    - `buckets`: "tenths" of the context, or "doublings" (1, 2, 4, ...) of the position;
    - `begin`: a marker of the vocabulary before each document, such as "text.bos", or None;
    - `batch_tokens`: tokens in one forward; `chunk`: tokens of each row whose scores exist at a time.

    Positions count from 0 within the window, whose first token is never measured; nor is a token whose loss
    is 0 in its document.
    """

    source: DataSource
    context: int = 1024
    windows: int = 16
    buckets: Literal["tenths", "doublings"] = "tenths"
    begin: str | None = None
    batch_tokens: int = 8192
    chunk: int = 1024

    def __post_init__(self):
        if self.buckets not in ("tenths", "doublings"):
            raise ValueError(f"buckets={self.buckets!r}: give tenths or doublings.")
        for name, least in (("context", 2), ("windows", 1), ("batch_tokens", 1), ("chunk", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")

    def __call__(self, subject: Subject) -> Evaluation:
        sums, counts = np.zeros(self.context), np.zeros(self.context, np.int64)
        rows = list(self._rows(subject))
        for batch, count in batches(rows, self.batch_tokens):
            losses = token_losses(subject.model, batch, chunk=self.chunk)[:count].astype(np.float64)
            wanted = np.stack([row.loss for row in batch[:count]]) > 0
            sums += (losses * wanted).sum(axis=0)
            counts += wanted.sum(axis=0)
        if not counts.sum():
            raise ValueError(f"No token to measure in {len(rows)} windows: give a source with longer documents.")
        edges = self._edges()
        records = tuple(
            _record(a, b, sums, counts) for a, b in zip(edges, edges[1:], strict=False) if counts[a:b].any()
        )
        total = _record(0, self.context, sums, counts)
        summary = {"context": self.context, "windows": len(rows)}
        return Evaluation("perplexity", records, {**summary, **{k: total[k] for k in ("tokens", "loss", "perplexity")}})

    def withheld(self) -> Withheld:
        """The documents that it reads."""
        return Withheld(documents=self.source)

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """One line of perplexity over position for each panel."""
        return draw_by_position(path, panels)

    def _edges(self) -> list[int]:
        if self.buckets == "tenths":
            return np.unique(np.linspace(0, self.context, 11).astype(int)).tolist()
        powers = [1 << i for i in range(self.context.bit_length()) if 1 << i < self.context]
        return [*powers, self.context]

    def _rows(self, subject: Subject) -> Iterator[Row]:
        render = Renderer(subject.vocabulary, subject.tokenizer, begin=self.begin, end=None, empty="skip")
        left = self.windows
        for index in range(len(self.source)):
            sample = render(self.source[index])
            if sample is None:  # an empty document has nothing to measure
                continue
            for start in range(0, len(sample) - 1, self.context):
                if not left:
                    return
                left -= 1
                stop = start + self.context
                yield _row(sample.tokens[start:stop], sample.loss[start:stop], self.context)


def _row(tokens: np.ndarray, loss: np.ndarray, length: int) -> Row:
    count, pad = len(tokens), (0, length - len(tokens))
    wanted = loss.astype(np.float32)
    wanted[0] = 0  # nothing predicts the first token of a window
    position = np.pad(np.arange(count, dtype=np.int32), pad)
    return Row(np.pad(tokens, pad), np.pad(np.ones(count, np.int32), pad), position, np.pad(wanted, pad))


def _record(first: int, last: int, sums: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    tokens = int(counts[first:last].sum())
    loss = float(sums[first:last].sum() / tokens)
    return {"from": first, "to": last, "tokens": tokens, "loss": loss, "perplexity": float(np.exp(loss))}
