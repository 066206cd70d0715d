"""How a model was trained to be asked for pictures and about them, read from the sources that trained it.

Owns the text around a prompt or a question. The tags and LWM's own sentences are `lwm_core.data.wording`'s and
`lwm_core.vision.documents`'s, messages `lwm_core.data.chat`'s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from lwm_core.data import Span
from lwm_core.data.chat import Chat, Message
from lwm_core.data.template import Piece, Template
from lwm_core.data.values import Part
from lwm_core.data.wording import OPEN, VISION, Joined
from lwm_core.vision.documents import generation_prompt


Form = Literal["chat", "pair", "template"]
Purpose = Literal["draw", "ask"]


@dataclass(frozen=True)
class Wording:
    """What stands around a prompt, and around a picture or clip and a question about it.

    - `form`: "chat" (a request and its answer), "pair" (`prompt <vision>...`, `<vision>...</vision> question`), or
      "template";
    - `chat`: the wording of messages; - `template`: as in `lwm_core.data.template`, what is between fields included;
    - `source`: the source that it was read from, for people; empty for a default.
    """

    form: Form = "chat"
    chat: Chat = Chat()
    template: str = ""
    source: str = ""

    def __post_init__(self):
        if self.form not in get_args(Form):
            raise ValueError(f"form={self.form!r}: give {', '.join(get_args(Form))}.")
        if (self.form == "template") != bool(self.template):
            raise ValueError(f"form={self.form!r} with template={self.template!r}: give both or neither.")

    def drawing(self, prompt: str, frames: int) -> str:
        """The text that the model goes on from with the codes of `frames` frames."""
        if self.form == "chat":
            return generation_prompt(prompt, frames, self.chat.opening)
        if self.form == "pair":
            return f"{prompt} {OPEN}".lstrip()
        if not self.takes_prompt:
            raise ValueError(
                f"The template {self.template!r} has no field of text before one of vision, so it takes no prompt: "
                "write one such as {prompt} <vision>{frames:vision}."
            )
        pieces = self._pieces
        at = [piece.modality for piece in pieces].index(VISION)
        return "".join(prompt if piece.kind == "field" else piece.value for piece in pieces[:at])

    @property
    def unprompted(self) -> str:
        """The text of the unconditional row: LWM's `<vision>` alone, or a template's text without its fields."""
        return OPEN if self.form != "template" else self.drawing("", 1)

    def free(self, prompt: str) -> str:
        """The text that the model goes on from with whatever it likes."""
        return str(self.asking(prompt, None, first=True)[0].content) if self.form == "chat" else prompt

    def asking(self, question: str, ids: np.ndarray | None, *, first: bool) -> tuple[Span, ...]:
        """A question, with the ids of a picture or clip if there is one; `first` opens the conversation."""
        if self.form == "chat":
            shown = () if ids is None else (Part("text", "\n"), Part(VISION, ids))
            message = Message("user", (Part("text", question), *shown))
            return self.chat.prompt([message]) if first else self._further(message)
        joined = Joined()
        if self.form == "pair":
            if ids is not None:
                joined.tagged(VISION, ids, 0.0)
            joined.add("text", f" {question}" if joined.spans or not first else question, 0.0)
            return tuple(joined.spans)
        return self._filled(question, ids)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer has ended."""
        pieces = Template(self.chat.user).pieces if self.form == "chat" else self._after_answer
        return tuple(p.value.rstrip() for p in pieces[:1] if p.kind == "text" and p.value.strip())

    @property
    def takes_prompt(self) -> bool:
        """Whether there is a place for a prompt before a picture."""
        kinds = [piece.modality for piece in self._fields]
        return self.form != "template" or (VISION in kinds and "text" in kinds[: kinds.index(VISION)])

    @property
    def takes_question(self) -> bool:
        """Whether there is a place for a question, and an answer after it."""
        losses = [piece.loss > 0 for piece in self._fields if piece.modality == "text"]
        return self.form != "template" or (True in losses and False in losses[: losses.index(True)])

    def _further(self, message: Message) -> tuple[Span, ...]:
        # A template's leading space is dropped where nothing stands before it, so something does.
        head, *rest = replace(self.chat, opening=".").prompt([message])
        return (Span("text", str(head.content)[1:], 0.0), *rest)

    def _filled(self, question: str, ids: np.ndarray | None) -> tuple[Span, ...]:
        if not self.takes_question:
            raise ValueError(
                f"The template {self.template!r} has no field without loss before one with loss, so it takes no "
                "question: write one such as {frames:vision} {question}[ {answer}]."
            )
        joined = Joined()
        for piece in self._pieces:
            if piece.kind == "text":
                joined.add("text", piece.value, 0.0)
            elif piece.modality != "text":
                joined.add(piece.modality, np.zeros(0, np.int32) if ids is None else ids, 0.0)
            elif piece.loss > 0:
                break
            else:
                joined.add("text", question, 0.0)
        return tuple(joined.spans)

    @property
    def _fields(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self._pieces if piece.kind == "field")

    @property
    def _pieces(self) -> tuple[Piece, ...]:
        pieces = Template(self.template).pieces if self.template else ()
        if marker := next((piece.value for piece in pieces if piece.kind == "marker"), None):
            raise ValueError(f"The template {self.template!r} has the marker {{@{marker}}}: write it without markers.")
        return tuple(pieces)

    @property
    def _after_answer(self) -> tuple[Piece, ...]:
        pieces = self._pieces
        at = next(
            (at for at, p in enumerate(pieces) if p.kind == "field" and p.modality == "text" and p.loss > 0), None
        )
        return () if at is None else pieces[at + 1 :]


def wording_of(sources: Mapping[str, Any], last: Iterable[str] = (), *, purpose: Purpose = "draw") -> Wording:
    """How these sources would ask: the first that says so, those named in `last` (of the last stage) before others.

    To ask, chats come before pairs. Without a source that says anything it is LWM's chat.
    """
    order = [name for name in last if name in sources]
    found = [_of(name, sources[name], purpose) for name in [*order, *(name for name in sources if name not in order)]]
    told = [wording for wording in found if wording is not None]
    if purpose == "ask":
        told.sort(key=lambda wording: wording.form == "pair")
    return told[0] if told else Wording()


def _of(name: str, source: Any, purpose: Purpose) -> Wording | None:
    """What one source says; None for one of text alone, when pictures are wanted."""
    template = getattr(source, "template", "") or _of_fields(getattr(source, "fields", ()))
    if template:
        found = Wording("template", template=template, source=name)
        return found if (found.takes_prompt if purpose == "draw" else found.takes_question) else None
    chat = getattr(source, "chat", None)
    if isinstance(chat, Chat):  # records by the schema: pairs, and questions as chat
        return Wording("chat" if purpose == "ask" else "pair", chat, source=name)
    if not hasattr(source, "vision"):
        return None
    if getattr(source, "form", "pair") == "chat":
        return Wording("chat", Chat(opening=getattr(source, "system", Chat().opening)), source=name)
    return Wording("pair", source=name)


def _of_fields(fields: Iterable[Any]) -> str:
    """The template that chosen fields amount to."""
    written = []
    for field in fields:
        name, modality, loss = (
            (field, "text", 1.0) if isinstance(field, str) else (field.name, field.modality, field.loss)
        )
        inner = f"{{{name}}}" if modality == "text" else f"{{{name}:{modality}}}"
        written.append(f"[{inner}]" if loss > 0 else inner)
    return "".join(written)
