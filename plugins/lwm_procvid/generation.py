"""The evaluator of generation: clips drawn for captions never trained on, judged by the exact detector.

Owns prompts, drawing and counting. What may be drawn is the core's grammar, what a caption means `clips`', and what
pixels show `detector`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.data import Document, Renderer, Span
from lwm_core.evaluate import Evaluation, Subject
from lwm_core.sample import AbstractSampler, Categorical, Frames, generate
from lwm_core.vision.base import AbstractVisionTokenizer
from lwm_core.vision.tokens import ids_to_frames
from lwm_procvid.clips import Clip
from lwm_procvid.detector import Verdict, judge
from lwm_procvid.picture import contact_sheet
from lwm_procvid.share import wilson
from lwm_procvid.source import ProcVid, Split, Vision, made_of, prompt


class Made(NamedTuple):
    """One clip that was asked for: its caption, the drawn ids' frames (None: not whole frames), and the verdict."""

    clip: Clip
    pixels: np.ndarray | None
    verdict: Verdict


@dataclass(frozen=True)
class ProcVidGeneration:
    """The share of `prompts` captions that hold in the clip that the model draws for them.

    - `vision`: as in the source; `frames`: of a clip;
    - `split`, `seed`: which captions; by default those that no "train" source holds;
    - `sampler`: how ids are drawn; `draw_seed`: of the drawing;
    - `grammar`: whether ids outside the grid of codes are ruled out. Without it, clips are exact only where the model
      has learnt them to be;
    - `batch`: prompts in one call.

    Records, one for each kind of clip and one for "all": {kind, prompts, exact, content, right, low, high}. `exact` is
    the share of clips with exactly the right number of codes in every frame, markers in their places; `content` the
    share where every frame contains what the caption says of it and nothing else; `right` where the way that things
    move is as said, too. low and high bound `content` (95%, Wilson 1927).
    """

    vision: Vision
    prompts: int = 200
    frames: int = 4
    split: Split = "held-out"
    seed: int = 1000
    sampler: AbstractSampler = Categorical(0.1)
    draw_seed: int = 0
    grammar: bool = True
    batch: int = 50

    def __post_init__(self):
        for name in ("prompts", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        self._source  # noqa: B018  (bad options are an error now)

    def __call__(self, subject: Subject) -> Evaluation:
        return self.counted(self.made(subject))

    def counted(self, made: Sequence[Made]) -> Evaluation:
        """The evaluation of clips that were made."""
        kinds = sorted({one.clip.kind for one in made})
        records = [_record(kind, [one for one in made if one.clip.kind == kind]) for kind in kinds]
        summary = _record("all", made)
        return Evaluation("procvid-generation", (*records, summary), summary)

    def made(self, subject: Subject) -> list[Made]:
        """Every clip that was asked for, in order."""
        tokenizer, found = self._tokenizer, []
        clips = [self._source.clip(index)[0] for index in range(self.prompts)]
        for start in range(0, len(clips), self.batch):
            now = clips[start : start + self.batch]
            filled = [*now, *[now[-1]] * (self.batch - len(now))] if start else now  # one size, one compilation
            drawn = self._drawn(subject, tokenizer, filled, start)[: len(now)]
            found += [judged(subject, tokenizer, clip, ids) for clip, ids in zip(now, drawn, strict=True)]
        return found

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """Shares by kind, one group of bars for each panel."""
        from lwm_procvid.picture import bars

        return bars(path, panels, "right")

    def show(self, path: Path, subject: Subject, count: int = 12) -> Path:
        """A picture of the first clips that were made, each under its caption."""
        return contact_sheet(
            path, [(one.clip.caption, one.pixels, one.verdict.right) for one in self.made(subject)[:count]]
        )

    def _drawn(self, subject: Subject, tokenizer: AbstractVisionTokenizer, clips: Sequence[Clip], start: int):
        render = Renderer(subject.vocabulary, subject.tokenizer, begin="text.bos", end=None)
        asked = render.many([Document((Span("text", prompt(clip.caption)),), clip.caption) for clip in clips])
        grammar = None
        if self.grammar:
            sizes = tokenizer.codes_per_frame, self.frames
            grammar = Frames.of(subject.vocabulary, *sizes, codebook_size=tokenizer.codebook_size)
        return generate(
            subject.model,
            [sample.tokens.tolist() for sample in asked if sample is not None],
            sampler=self.sampler,
            key=jax.random.fold_in(jax.random.key(self.draw_seed), start),
            max_new=self.frames * (tokenizer.codes_per_frame + 1),
            stop=[subject.vocabulary.marker("vision.eov")],
            grammar=grammar,
        )

    @property
    def _source(self) -> ProcVid:
        return ProcVid(None, documents=self.prompts, frames=self.frames, split=self.split, seed=self.seed)

    @property
    def _tokenizer(self) -> AbstractVisionTokenizer:
        return made_of(self.vision)


def judged(subject: Subject, tokenizer: AbstractVisionTokenizer, clip: Clip, ids: np.ndarray) -> Made:
    """The verdict on drawn ids: none holds for ids that are not exactly the clip's frames."""
    wrong = Made(clip, None, Verdict((False,) * len(clip.frames), False))
    span = subject.vocabulary.range("vision")
    if not len(ids) or ids.min() < span.start or ids.max() >= span.stop:
        return wrong
    try:
        codes = ids_to_frames(subject.vocabulary.to_local("vision", ids), tokenizer)
    except ValueError:
        return wrong
    if len(codes) != len(clip.frames):
        return wrong
    pixels = np.asarray(tokenizer.decode(jnp.asarray(codes)))
    return Made(clip, pixels, judge(clip, pixels))


def _record(kind: str, made: Sequence[Made]) -> dict[str, Any]:
    content = sum(one.verdict.content for one in made)
    low, high = wilson(content, len(made))
    return {
        "kind": kind,
        "prompts": len(made),
        "exact": sum(one.pixels is not None for one in made) / len(made),
        "content": content / len(made),
        "right": sum(one.verdict.right for one in made) / len(made),
        "low": low,
        "high": high,
    }
