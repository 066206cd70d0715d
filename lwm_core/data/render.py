"""Document to sample: spans encoded, mapped into the one id space, weighted as targets.

Owns the step between a source and a packer. It knows no file and no row length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from lwm_core.data.base import Document, Sample, Span, Texts
from lwm_core.text import TextTokenizer, encode_many
from lwm_core.vocab import Vocabulary


_Found = tuple[Iterable[list[np.ndarray]], Iterable[Sequence[float]], list[str]]


@runtime_checkable
class RendersMany(Protocol):
    """The second face of a render function that is faster over many documents at once."""

    def many(self, documents: Sequence[Document], source: str = "") -> list[Sample | None]:
        """For each document its sample, marked with its source, or None for one that is left out."""
        ...


@dataclass(frozen=True)
class Renderer:
    """Turns a document into a sample.

    - `begin`, `end`: markers of the vocabulary put before the first and after the last span, or None. `end`
      counts as a target as much as the last span does, so that a model learns to stop after an answer; a
      first token is never a target;
    - `empty`: what a document without a token is: an "error" that names it, or "skip" (gives None).

    A text span is a string or the tokenizer's own ids; any other span holds its modality's own ids.
    """

    vocabulary: Vocabulary
    tokenizer: TextTokenizer
    begin: str | None = None
    end: str | None = "text.eos"
    empty: Literal["error", "skip"] = "error"

    def __post_init__(self):
        if self.empty not in ("error", "skip"):
            raise ValueError(f"empty={self.empty!r}: give error or skip.")
        for marker in filter(None, (self.begin, self.end)):
            self.vocabulary.marker(marker)  # raises for a marker that is not there

    def __call__(self, document: Document) -> Sample | None:
        """The sample; None for an empty document under `empty="skip"`."""
        return self.many([document])[0]

    def many(self, documents: Sequence[Document], source: str = "") -> list[Sample | None]:
        """A sample for each document; their texts are encoded together, and their arrays are views of common ones."""
        found, losses_of, names = self._found(documents)
        begin, end = self._marker(self.begin), self._marker(self.end)
        zeros = [0.0] * len(begin)
        pieces: list[np.ndarray] = []
        losses: list[float] = []
        edges = [0]  # of the documents, in pieces
        for spans, weights, name in zip(found, losses_of, names, strict=True):
            if any(map(len, spans)):
                pieces += begin
                pieces += spans
                pieces += end
                losses += zeros
                losses += weights
                losses += weights[-1:] if end else ()
            elif self.empty == "error":
                raise ValueError(
                    f"Document {name or '(unnamed)'} is empty: take it out of its source, or give it text. "
                    "A program may also use Renderer(empty='skip')."
                )
            edges.append(len(pieces))
        return _samples(pieces, losses, edges, names, source)

    def _found(self, documents: Sequence[Document]) -> _Found:
        """Of each document the ids of its spans, their weights, and its name."""
        texts = self._texts(documents)
        if isinstance(documents, Texts):
            return ([ids] for ids in texts), repeat((Span.loss,), len(documents)), documents.names
        found = (
            [next(texts) if isinstance(s.content, str) else self._ids(s, document) for s in document.spans]
            for document in documents
        )
        return found, ([s.loss for s in document.spans] for document in documents), [d.name for d in documents]

    def _marker(self, name: str | None) -> list[np.ndarray]:
        return [] if name is None else [np.asarray([self.vocabulary.marker(name)], np.int32)]

    def _texts(self, documents: Sequence[Document]) -> Iterator[np.ndarray]:
        """The ids of the model for every span that is a string, in order."""
        texts = documents.contents if isinstance(documents, Texts) else list(_strings(documents))
        if not texts:
            return iter(())
        encoded = encode_many(self.tokenizer, texts)
        try:
            together = self.vocabulary.to_global("text", np.concatenate(encoded))
        except ValueError as error:
            for document in documents if len(documents) > 1 else ():
                self._texts([document])
            raise ValueError(f"Document {documents[0].name}: {error.args[0]}") from error
        stops = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded))).tolist()
        return (together[start:stop] for start, stop in pairwise([0, *stops]))

    def _ids(self, span: Span, document: Document) -> np.ndarray:
        try:
            return self.vocabulary.to_global(span.modality, np.asarray(span.content))
        except (KeyError, ValueError) as error:
            raise ValueError(f"Document {document.name}: {error.args[0]}") from error


def _strings(documents: Sequence[Document]) -> Iterator[str]:
    for document in documents:
        for span in document.spans:
            if isinstance(span.content, str):
                if span.modality != "text":
                    raise ValueError(
                        f"Document {document.name}: a {span.modality} span holds a string; give its ids, or modality "
                        "'text'."
                    )
                yield span.content


def _samples(
    pieces: list[np.ndarray], losses: list[float], edges: list[int], names: list[str], source: str
) -> list[Sample | None]:
    if not pieces:
        return [None] * len(names)
    sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
    tokens, loss = np.concatenate(pieces), np.repeat(np.asarray(losses, np.float32), sizes)
    at = np.concatenate([[0], np.cumsum(sizes)])[edges]
    loss[at[:-1][at[:-1] < at[1:]]] = 0.0
    at = at.tolist()
    return [
        Sample(tokens[start:stop], loss[start:stop], name, source) if start < stop else None
        for start, stop, name in zip(at, at[1:], names, strict=False)
    ]
