"""Chat turns to spans, in LWM's wording; only answers carry loss.

Owns the template. It encodes nothing: the renderer does, so the same turns work with any tokenizer.
Source: LWM `sample_pyt.py` for the wording; paper (arXiv 2402.08268), chat data, for loss on answers.
"""

from collections.abc import Sequence

from lwm_core.data import Span


SYSTEM = "You are a helpful assistant."


def prompt(user: str, system: str = SYSTEM) -> str:
    """The text that the model continues with its answer."""
    return f"{system} USER: {user} ASSISTANT:"


def chat(turns: Sequence[tuple[str, str]], system: str = SYSTEM) -> tuple[Span, ...]:
    """Spans of a conversation, (user, assistant) pairs in order; prompts have loss 0 and answers 1."""
    if not turns:
        raise ValueError("A chat without turns: give at least one (user, assistant) pair.")
    spans = []
    for index, (user, answer) in enumerate(turns):
        opening = prompt(user, system) if index == 0 else f" USER: {user} ASSISTANT:"
        spans += [Span("text", opening, loss=0.0), Span("text", f" {answer}")]
    return tuple(spans)
