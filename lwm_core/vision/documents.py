"""A picture or clip and its caption as a chat; the prompts to generate and to describe.

Owns the wording of such requests, which is LWM's. The tags, and captions as pairs, are `lwm_core.data.wording`'s.
Source: LWM `vision_chat.py` and `vision_generation.py`; loss on answers only as in the paper's chat stages.
"""

import numpy as np

from lwm_core.data import Span
from lwm_core.data.wording import CLOSE, OPEN, SYSTEM, VISION


def chat_spans(
    caption: str, ids: np.ndarray, *, frames: int, text_first: bool, system: str = SYSTEM
) -> tuple[Span, ...]:
    """A request and its answer, as spans: "Generate a video of ..." where text is first, else "Describe the video."

    Only the answer counts.
    """
    if text_first:
        prompt = Span("text", generation_prompt(caption, frames, system), loss=0.0)
        return (prompt, Span(VISION, ids), Span("text", CLOSE))
    before, after = description_prompt(frames, system)
    prompt = (Span("text", before, loss=0.0), Span(VISION, ids, loss=0.0), Span("text", after, loss=0.0))
    return (*prompt, Span("text", f" {caption}"))


def generation_prompt(caption: str, frames: int = 1, system: str = SYSTEM) -> str:
    """The text that the model continues with the codes of a picture (1 frame) or a clip."""
    what = "an image" if frames == 1 else "a video"
    return f"{system} USER: Generate {what} of {caption} ASSISTANT: {OPEN}".lstrip()


def description_prompt(frames: int = 1, system: str = SYSTEM, question: str | None = None) -> tuple[str, str]:
    """The text before the codes and the text after them, which the model continues with its answer."""
    question = question or f"Describe the {'image' if frames == 1 else 'video'}."
    return f"{system} USER: {question}\n{OPEN}".lstrip(), f"{CLOSE} ASSISTANT:"
