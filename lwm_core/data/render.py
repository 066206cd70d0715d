"""Document to sample: spans encoded, mapped into the one id space, weighted as targets.

Owns the step between a source and a packer. It knows no file and no row length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lwm_core.data.base import Document, Sample, Span
from lwm_core.text import TextTokenizer
from lwm_core.vocab import Vocabulary


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
        spans = [(self._ids(span, document), span.loss) for span in document.spans]
        if not sum(len(ids) for ids, _ in spans):
            if self.empty == "skip":
                return None
            raise ValueError(
                f"Document {document.name or '(unnamed)'} is empty: take it out of its source, or give it text. "
                "A program may also use Renderer(empty='skip')."
            )
        if self.begin:
            spans.insert(0, (self._marker(self.begin), 0.0))
        if self.end:
            spans.append((self._marker(self.end), spans[-1][1]))
        tokens = np.concatenate([ids for ids, _ in spans])
        loss = np.repeat(np.asarray([weight for _, weight in spans], np.float32), [len(ids) for ids, _ in spans])
        loss[0] = 0.0
        return Sample(tokens, loss, document.name)

    def _marker(self, name: str) -> np.ndarray:
        return np.asarray([self.vocabulary.marker(name)], np.int32)

    def _ids(self, span: Span, document: Document) -> np.ndarray:
        content = span.content
        if isinstance(content, str):
            if span.modality != "text":
                raise ValueError(
                    f"Document {document.name}: a {span.modality} span holds a string; give its ids, or "
                    "modality 'text'."
                )
            content = np.asarray(self.tokenizer.encode(content), np.int32)
        try:
            return self.vocabulary.to_global(span.modality, content)
        except (KeyError, ValueError) as error:
            raise ValueError(f"Document {document.name}: {error.args[0]}") from error
