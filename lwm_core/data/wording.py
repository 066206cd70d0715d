"""Spans of text and codes put together: neighbouring text joined, vision between its tags, captions beside it.

Owns the tags, which are LWM's and plain text, and their order. It reads no record and no pixel.
Source: LWM `vision_chat.py`, `vision_generation.py`.
"""

from dataclasses import dataclass, field

import numpy as np

from lwm_core.data.base import Span


OPEN, CLOSE = "<vision>", "</vision>"
SYSTEM = "You are a helpful assistant."
VISION = "vision"


@dataclass
class Joined:
    """Spans in the making. Text that follows text of the same loss joins it, as a tokenizer should see it."""

    spans: list[Span] = field(default_factory=list)

    def add(self, modality: str, content: str | np.ndarray, loss: float) -> None:
        if not len(content):
            return
        last = self.spans[-1] if self.spans else None
        if (
            last is not None
            and last.modality == modality == "text"
            and last.loss == loss
            and isinstance(content, str)
            and isinstance(last.content, str)
        ):
            self.spans[-1] = Span("text", last.content + content, loss)
        else:
            self.spans.append(Span(modality, content, loss))

    def tagged(self, modality: str, codes: str | np.ndarray, loss: float) -> None:
        """Codes (or the file that they are to come from) between `<vision>` and `</vision>`."""
        self.add("text", OPEN, loss)
        self.add(modality, codes, loss)
        self.add("text", CLOSE, loss)


def pair_spans(caption: str, ids: str | np.ndarray, *, text_first: bool) -> tuple[Span, ...]:
    """Caption then vision, or vision then caption; every token counts. An empty caption leaves vision alone."""
    if text_first:
        return (Span("text", f"{caption} {OPEN}".lstrip()), Span(VISION, ids), Span("text", CLOSE))
    return (Span("text", OPEN), Span(VISION, ids), Span("text", f"{CLOSE} {caption}".rstrip()))
