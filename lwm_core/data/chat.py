"""Messages to spans: a template for each role, LWM's by default; only the assistant's words carry loss.

Owns the wording of a conversation. It encodes nothing: the renderer does, so the same messages work with any
tokenizer. Source: LWM `sample_pyt.py` for the wording; arXiv 2402.08268, chat data, for loss on answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lwm_core.data.base import Span
from lwm_core.data.template import Piece, Template
from lwm_core.data.values import Part
from lwm_core.data.wording import SYSTEM, Joined


ROLES = ("system", "user", "assistant", "tool")
Marker = Callable[[str], np.ndarray]


class Message(NamedTuple):
    """Who says what; `weight` multiplies the loss of this message."""

    role: str
    parts: tuple[Part, ...]
    weight: float = 1.0

    @staticmethod
    def of(role: str, words: str) -> "Message":
        return Message(role, (Part("text", words),))


def no_marker(name: str) -> np.ndarray:
    """For a source that was given no tokenizer."""
    raise ValueError(f"{{@{name}}} is a marker, and this source has no tokenizer: give it one, or leave it out.")


@dataclass(frozen=True)
class Chat:
    """How messages read.

    - `system`, `user`, `assistant`, `tool`: a template over `{content}` for each role, in the language of
      `lwm_core.data.template`: brackets carry loss;
    - `opening`: what stands before a conversation that has no system message; may be empty.
    """

    system: str = "{content}"
    user: str = " USER: {content}"
    assistant: str = " ASSISTANT:[ {content}]"
    tool: str = " TOOL: {content}"
    opening: str = SYSTEM

    def __post_init__(self):
        for role in ROLES:
            if self._templates[role].fields != ("content",):
                raise ValueError(f"chat.{role} = {getattr(self, role)!r}: it takes the field {{content}} alone.")
        self._templates["assistant"].check("chat.assistant")

    @property
    def markers(self) -> tuple[str, ...]:
        """The markers of the tokenizer that its templates name."""
        return tuple(name for template in self._templates.values() for name in template.markers)

    def spans(self, messages: Sequence[Message], marker: Marker = no_marker) -> tuple[Span, ...]:
        """The conversation, with the spaces before its first word taken off."""
        return tuple(self._joined(messages, marker).spans)

    def prompt(self, messages: Sequence[Message], marker: Marker = no_marker) -> tuple[Span, ...]:
        """The conversation and what comes before an answer, for a model to go on from; no loss anywhere."""
        joined = self._joined([m._replace(weight=0.0) for m in messages], marker)
        for piece in self._templates["assistant"].pieces:
            if piece.loss > 0 or piece.kind == "field":
                break
            _add(joined, piece, (), 0.0, marker)
        return tuple(joined.spans)

    @cached_property
    def _templates(self) -> dict[str, Template]:
        return {role: Template(getattr(self, role)) for role in ROLES}

    def _joined(self, messages: Sequence[Message], marker: Marker) -> Joined:
        joined = Joined()
        if self.opening and (not messages or messages[0].role != "system"):
            joined.add("text", self.opening, 0.0)
        for message in messages:
            for piece in self._templates[message.role].pieces:
                _add(joined, piece, message.parts, piece.loss * message.weight, marker)
        return joined


def _add(joined: Joined, piece: Piece, parts: Sequence[Part], loss: float, marker: Marker) -> None:
    if piece.kind == "text":
        joined.add("text", piece.value if joined.spans else piece.value.lstrip(), loss)
    elif piece.kind == "marker":
        joined.add("text", marker(piece.value), loss)
    for part in parts if piece.kind == "field" else ():
        if part.modality == "text":
            joined.add("text", part.content, loss)
        else:
            joined.tagged(part.modality, part.content, loss)
