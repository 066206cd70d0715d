"""The evaluator of understanding: questions about clips never trained on, beside what chance would answer.

Owns the trials and the control. An answer is written in full by the model's first choices; nothing tells it which
answers there are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data import Document, Renderer, Row
from lwm_core.evaluate import Evaluation, Subject, batches, best_next
from lwm_procvid.clips import Clip, Question
from lwm_procvid.picture import bars
from lwm_procvid.share import wilson
from lwm_procvid.source import CodeTable, ProcVid, Split, Vision, asked_spans, code_table


class Trial(NamedTuple):
    """A question about a clip, and the clip that is shown in its place in the control."""

    question: Question
    clip: Clip
    other: Clip


@dataclass(frozen=True)
class ProcVidQuestions:
    """The share of questions that are answered right, by kind of question.

    - `vision`: as in the source; `frames`: of a clip;
    - `clips`: how many; each is asked every question that fits it, one at a time;
    - `split`, `seed`: which clips; by default with captions that no "train" source holds;
    - `batch_tokens`: tokens in one forward.

    An answer is right when each of its tokens is the model's first choice among all ids there are, which is what greedy
    decoding writes. Records, one for each kind of question and one for "all": {kind, questions, right, low, high,
    chance, constant, control}. `chance` is one over the number of answers that such a question can have; `constant` the
    share that always giving the commonest answer of these very questions would get; `control` the share right when
    another clip is shown with the same question, one for which the question also makes sense. low and high bound
    `right` (95%, Wilson 1927).
    """

    vision: Vision
    clips: int = 200
    frames: int = 4
    split: Split = "held-out"
    seed: int = 2000
    batch_tokens: int = 8192

    def __post_init__(self):
        for name in ("clips", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        self._source  # noqa: B018  (bad options are an error now)

    def __call__(self, subject: Subject) -> Evaluation:
        trials = self.trials()
        right = self._right(subject, trials, [trial.clip for trial in trials])
        control = self._right(subject, trials, [trial.other for trial in trials])
        kinds = sorted({trial.question.kind for trial in trials})
        places = {kind: [i for i, trial in enumerate(trials) if trial.question.kind == kind] for kind in kinds}
        records = [_record(kind, [trials[i] for i in at], right[at], control[at]) for kind, at in places.items()]
        summary = _together(records, right, control)
        return Evaluation("procvid-questions", (*records, summary), summary)

    def trials(self) -> list[Trial]:
        """Every question on every clip; the other clip of each is the next one that allows the same question."""
        clips = [self._source.clip(index)[0] for index in range(self.clips)]
        having: dict[str, list[Clip]] = {}
        for clip in clips:
            for question in clip.questions:
                having.setdefault(question.kind, []).append(clip)
        found = []
        for kind, fitting in having.items():
            for place, clip in enumerate(fitting):
                question = next(one for one in clip.questions if one.kind == kind)
                found.append(Trial(question, clip, fitting[(place + 1) % len(fitting)]))
        return found

    def document(self, question: Question, clip: Clip) -> Document:
        """The clip, the question and its answer, which is the last span."""
        return Document(asked_spans(self._table, clip, [question]), clip.caption)

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """Shares by kind of question, one group of bars for each panel, and the level of chance."""
        return bars(path, panels, "right", level="chance")

    def _right(self, subject: Subject, trials: Sequence[Trial], shown: Sequence[Clip]) -> np.ndarray:
        """Whether each question is answered right when these clips are shown."""
        asked = [self._asked(subject, trial.question, clip) for trial, clip in zip(trials, shown, strict=True)]
        length = -(-max(len(tokens) for tokens, _ in asked) // 16) * 16
        width = max(count for _, count in asked)
        rows, hits = [_row(tokens, length) for tokens, _ in asked], []
        for batch, count in batches(rows, self.batch_tokens):
            now = asked[len(hits) : len(hits) + count]
            places = np.stack([np.arange(len(tokens) - 1 - width, len(tokens) - 1) for tokens, _ in now])
            places = np.pad(places, ((0, len(batch) - count), (0, 0)), mode="edge")
            said = best_next(subject.model, batch, places)[:count]
            hits += [bool((ids[-n:] == tokens[-n:]).all()) for ids, (tokens, n) in zip(said, now, strict=True)]
        return np.asarray(hits)

    def _asked(self, subject: Subject, question: Question, clip: Clip) -> tuple[np.ndarray, int]:
        """The ids of clip, question and answer, and how many of the last are the answer's."""
        render = Renderer(subject.vocabulary, subject.tokenizer, begin="text.bos", end=None)
        document = self.document(question, clip)
        whole, before = render.many([document, Document(document.spans[:-1], document.name)])
        assert whole is not None and before is not None
        return whole.tokens, len(whole) - len(before)

    @cached_property
    def _table(self) -> CodeTable:
        return code_table(self.vision)

    @property
    def _source(self) -> ProcVid:
        return ProcVid(None, "questions", self.clips, self.frames, split=self.split, seed=self.seed)


def _row(tokens: np.ndarray, length: int) -> Row:
    count, pad = len(tokens), (0, length - len(tokens))
    segment, position = np.ones(count, np.int32), np.arange(count, dtype=np.int32)
    return Row(np.pad(tokens, pad), np.pad(segment, pad), np.pad(position, pad), np.zeros(length, np.float32))


def _record(kind: str, trials: Sequence[Trial], right: np.ndarray, control: np.ndarray) -> dict[str, Any]:
    low, high = wilson(int(right.sum()), len(right))
    commonest = Counter(trial.question.answer for trial in trials).most_common(1)[0][1]
    chance = 1 / len(trials[0].question.choices)
    return {
        "kind": kind, "questions": len(trials), "right": float(right.mean()), "low": low, "high": high,
        "chance": chance, "constant": commonest / len(trials), "control": float(control.mean()),
    }  # fmt: skip


def _together(records: Sequence[Mapping[str, Any]], right: np.ndarray, control: np.ndarray) -> dict[str, Any]:
    """All kinds as one; its levels are those of the kinds, by how many questions each has."""
    low, high = wilson(int(right.sum()), len(right))
    levels = {
        name: sum(record[name] * record["questions"] for record in records) / len(right)
        for name in ("chance", "constant")
    }
    return {"kind": "all", "questions": len(right), "right": float(right.mean()), "low": low, "high": high,
            **levels, "control": float(control.mean())}  # fmt: skip
