"""The source of made-up clips: captions with the clips they tell of, or clips with questions about them.

Owns how a clip becomes a document, and the table of codes: the world has few frames, so each is encoded once. Documents
are made from (seed, index) alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from lwm_core.data import Document, Span
from lwm_core.data.wording import CLOSE, OPEN
from lwm_core.vision.base import AbstractVisionFamily, AbstractVisionTokenizer
from lwm_core.vision.tokens import frames_to_ids
from lwm_procvid.clips import FEWEST, HELD_OUT, KINDS, MOST, QUESTIONS, Clip, Question, draw_clip
from lwm_procvid.world import FRAME, Frame, every_frame, render


Vision = AbstractVisionTokenizer | AbstractVisionFamily
Split = Literal["train", "held-out", "all"]
ATTEMPTS = 100 * HELD_OUT


class CodeTable(NamedTuple):
    """The codes of every frame of the world, and the sizes of the tokenizer that they are of."""

    codes: Int32[np.ndarray, "N P"]
    codebook_size: int
    codes_per_frame: int

    def ids(self, frames: tuple[Frame, ...]) -> np.ndarray:
        """The clip as ids of the vision modality, each frame closed by its marker."""
        numbers = every_frame()
        return frames_to_ids(self.codes[[numbers[frame] for frame in frames]], self)


@dataclass(frozen=True)
class ProcVid:
    """`documents` documents, one clip in each, a frame a second.

    - `vision`: the tokenizer of 32×32 pixels (in a recipe the pipeline's own), or a family that needs no weights;
    - `form`: "generate" is a caption and its clip; "questions" a clip, then questions with their answers;
    - `frames`: of a clip, 2 to 6; `asked`: the most questions on one clip, in random order;
    - `kinds`: the kinds of clip to show, and others are passed over; all kinds if none is named;
    - `about`: the kinds of question to ask, and clips that have none are passed over; all kinds if none is named;
    - `split`: one caption in eight, whichever it is, is "held-out" and never in "train";
    - `prompt_loss`, `vision_loss`, `answer_loss`: how much each token counts as a target: of a caption or question, of
      the clip, of an answer (in "questions"; there `vision_loss` is best small);
    - `seed`: another seed gives other documents.

    `meta` has the caption, the answers, the second of the cut or change, and the timestamps. The tokenizer sees every
    frame of the world once, on first use; a pickled source carries their codes and not the tokenizer.
    """

    vision: Vision | None
    form: Literal["generate", "questions"] = "generate"
    documents: int = 100_000
    frames: int = 4
    asked: int = 3
    kinds: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    split: Split = "train"
    prompt_loss: float = 0.0
    vision_loss: float = 1.0
    answer_loss: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (("form", ("generate", "questions")), ("split", ("train", "held-out", "all"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: give {', '.join(allowed)}.")
        for name in ("documents", "asked"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        for name, what, known in (("kinds", "clip", tuple(KINDS)), ("about", "question", QUESTIONS)):
            unknown = [kind for kind in getattr(self, name) if kind not in known]
            if unknown:
                raise ValueError(f"{name}={unknown[0]!r}: give kinds of {what}, {', '.join(known)}.")
        if not FEWEST <= self.frames <= MOST:
            raise ValueError(f"frames={self.frames}: give {FEWEST} to {MOST}, so that things stay in the frame.")

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        clip, rng = self.clip(index)
        meta = {
            "kind": clip.kind,
            "caption": clip.caption,
            "answers": {question.kind: question.answer for question in clip.questions},
            "second": clip.second,
            "seconds": tuple(float(second) for second in range(self.frames)),
        }
        fitting = self._fitting(clip)
        asked = [fitting[i] for i in rng.permutation(len(fitting))[: self.asked]]
        spans = self._told(clip) if self.form == "generate" else self._answered(clip, asked)
        return Document(spans, f"procvid:{self.seed}:{index}", meta)

    def clip(self, index: int) -> tuple[Clip, np.random.Generator]:
        """What document `index` shows, and the draws that are left for it."""
        if not 0 <= index < self.documents:
            raise IndexError(f"Document {index} of {self.documents}.")
        rng = np.random.default_rng([self.seed, index])
        for _ in range(ATTEMPTS):
            clip = draw_clip(rng, self.frames)
            if self._wanted(clip):
                return clip, rng
        raise RuntimeError(f"No {self.split} caption in {ATTEMPTS} draws.")

    def _wanted(self, clip: Clip) -> bool:
        split = self.split == "all" or clip.held_out == (self.split == "held-out")
        return split and (not self.kinds or clip.kind in self.kinds) and bool(self._fitting(clip) or not self.about)

    def _fitting(self, clip: Clip) -> list[Question]:
        """The questions on the clip that this source may ask."""
        return [question for question in clip.questions if not self.about or question.kind in self.about]

    @cached_property
    def table(self) -> CodeTable:
        """The codes of every frame."""
        if self.vision is None:
            raise ValueError("This source has no vision tokenizer: give `vision`, or the recipe a [vision].")
        return code_table(self.vision, self.seed)

    def _told(self, clip: Clip) -> tuple[Span, ...]:
        ids = self.table.ids(clip.frames)
        text, close = Span("text", prompt(clip.caption), self.prompt_loss), Span("text", CLOSE, self.vision_loss)
        return (text, Span("vision", ids, self.vision_loss), close)

    def _answered(self, clip: Clip, asked: list[Question]) -> tuple[Span, ...]:
        return asked_spans(self.table, clip, asked, (self.prompt_loss, self.vision_loss, self.answer_loss))

    def __getstate__(self) -> dict:
        # Workers must not touch a device, and a tokenizer holds device arrays.
        return {**self.__dict__, "table": self.table, "vision": None}


def made_of(vision: Vision, seed: int = 0) -> AbstractVisionTokenizer:
    """The tokenizer, fresh where a family was given."""
    return vision.init(key=jax.random.key(seed)) if isinstance(vision, AbstractVisionFamily) else vision


def prompt(caption: str) -> str:
    """The text that the model continues with the clip."""
    return f"{caption} {OPEN}"


def asked_spans(
    table: CodeTable, clip: Clip, asked: list[Question], losses: tuple[float, float, float] = (0.0, 0.0, 1.0)
) -> tuple[Span, ...]:
    """The clip, then each question and its answer; `losses` are those of questions, clip and answers."""
    told, seen, said = losses
    spans = [Span("text", OPEN, 0.0), Span("vision", table.ids(clip.frames), seen), Span("text", CLOSE, told)]
    for question in asked:
        spans += [Span("text", f" {question.text}", told), Span("text", f" {question.answer}", said)]
    return tuple(spans)


def code_table(vision: Vision, seed: int = 0) -> CodeTable:
    """The codes of every frame of the world; raises `ValueError` for a tokenizer of frames of another size."""
    tokenizer = made_of(vision, seed)
    if tokenizer.frame_size != (FRAME, FRAME):
        raise ValueError(
            f"A tokenizer of {tokenizer.frame_size} pixels: the world is of {FRAME}×{FRAME}. Give one of that size, "
            "such as assets/procvid/tokenizer.safetensors or patch-mean."
        )
    pixels = np.stack([render(frame) for frame in every_frame()])
    codes = np.asarray(tokenizer.encode(jnp.asarray(pixels)), np.int32)
    return CodeTable(codes, tokenizer.codebook_size, tokenizer.codes_per_frame)
