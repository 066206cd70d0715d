"""The needle test: a number hidden at every depth of every context, asked for at the end.

Owns the trials, their scoring and the no-needle control. Haystacks, cities and numbers are none of those that
training documents hold, when their regions and lists differ, as the defaults do.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from lwm_core.data import Row, TextFiles
from lwm_core.evaluate import Evaluation, Subject, Withheld, batches, best_next
from lwm_core.sample import Greedy, generate
from lwm_needle.cities import HELD_OUT
from lwm_needle.figure import draw
from lwm_needle.haystack import Book, hide
from lwm_needle.wording import NEEDLE, QUESTION, Fact, Wording


class Trial(NamedTuple):
    """One question in the model's ids; `tokens` ends with the answer, whose last ids are `answer`."""

    kind: str
    depth: float
    tokens: np.ndarray
    answer: np.ndarray


@dataclass(frozen=True)
class Needle:
    """Contexts × depths × trials; a hit is the whole number, greedily.

    - `path`, `start`, `stop`: the held-out part of a book that haystacks come from;
    - `contexts`: lengths in the model's tokens, question and answer included; `depths`: 0 is first, 1 last;
    - `trials`: questions in each cell; `control_trials`: the same questions with the needle left out, which only
      chance answers (10^-digits);
    - `distractors`: other cities' needles hidden beside the one that is asked for;
    - `scoring`: "forced" compares the argmax at every token of the answer in one forward, which hits exactly when
      greedy decoding does; "generate" decodes;
    - `begin`: a marker before the text, as the model was trained, such as "text.bos", or None;
    - `batch_tokens`: tokens in one forward; `slack` as in `NeedleDocuments`.

    Records are {kind, context, depth, correct, total, low, high}, kind "needle" or "control"; low and high bound
    the accuracy (95%, Wilson 1927).
    """

    path: Path | str
    start: float = 0.9
    stop: float = 1.0
    contexts: tuple[int, ...] = (512, 1024, 2048)
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    trials: int = 10
    control_trials: int = 2
    distractors: int = 0
    digits: int = 5
    cities: tuple[str, ...] = HELD_OUT
    scoring: Literal["forced", "generate"] = "forced"
    begin: str | None = None
    slack: int = 24
    batch_tokens: int = 8192
    needle: str = NEEDLE
    question: str = QUESTION
    seed: int = 7

    def __post_init__(self):
        for name in ("contexts", "depths", "cities"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not getattr(self, name):
                raise ValueError(f"{name}=(): give at least one.")
        for name, least in (("trials", 1), ("control_trials", 0), ("digits", 1), ("distractors", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")
        if not all(0 <= depth <= 1 for depth in self.depths):
            raise ValueError(f"depths={self.depths}: give numbers from 0 (first) to 1 (last).")
        if self.distractors >= len(self.cities):
            raise ValueError(f"{self.distractors} distractors of {len(self.cities)} cities: give fewer.")
        if self.scoring not in ("forced", "generate"):
            raise ValueError(f"scoring={self.scoring!r}: give forced or generate.")

    def __call__(self, subject: Subject) -> Evaluation:
        book = Book(self.path, subject.tokenizer, self.start, self.stop)
        wording = Wording(subject.tokenizer, self.needle, self.question)
        records = []
        for context in self.contexts:
            trials = list(self._trials(subject, book, wording, context))
            hits = self._forced(subject, trials) if self.scoring == "forced" else self._decoded(subject, trials)
            records += _records(trials, hits, context)
        records.sort(key=lambda record: record["kind"] != "needle")
        summary = {
            "accuracy": _accuracy(records, "needle"),
            "control": _accuracy(records, "control"),
            "chance": 10.0**-self.digits,
        }
        return Evaluation("needle", tuple(records), summary)

    def withheld(self) -> Withheld:
        """Its cities and every number that it asks for; and the part of the book that haystacks come from."""
        places = itertools.product(self.contexts, range(len(self.depths)), range(max(self.trials, self.control_trials)))
        numbers = [number for place in places for _, number in self._told(np.random.default_rng([self.seed, *place]))]
        book = TextFiles((self.path,), split="files", start=self.start, stop=self.stop)
        return Withheld((*self.cities, *dict.fromkeys(numbers)), book)

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """One heat map of depth by context for each panel."""
        return draw(path, {name: evaluation.records for name, evaluation in panels.items()})

    def _trials(self, subject: Subject, book: Book, wording: Wording, context: int) -> Iterator[Trial]:
        for kind, count in (("needle", self.trials), ("control", self.control_trials)):
            for index, depth in enumerate(self.depths):
                for trial in range(count):
                    rng = np.random.default_rng([self.seed, context, index, trial])
                    yield self._trial(subject, book, wording, context, kind, depth, rng)

    def _trial(self, subject, book, wording, context, kind, depth, rng) -> Trial:
        facts = [Fact(wording.city(city), number) for city, number in self._told(rng)]
        depths = [depth, *rng.random(self.distractors)]
        shown = slice(0, None) if kind == "needle" else slice(1, None)
        needles = [wording.hidden(fact) for fact in facts[shown]]
        prompt, answer, _ = wording.asked(facts[0])
        begin = [] if self.begin is None else [subject.vocabulary.marker(self.begin)]
        taken = len(begin) + sum(map(len, needles)) + len(prompt) + len(answer)
        if taken > context:
            raise ValueError(f"contexts has {context}: needles and question take {taken} tokens; give more.")
        pieces = hide(book.passage(rng, context - taken), needles, depths[shown], self.slack)
        local = np.concatenate([*(piece.ids for piece in pieces), prompt, answer])
        tokens = np.concatenate([np.asarray(begin, np.int32), subject.vocabulary.to_global("text", local)])
        return Trial(kind, depth, tokens, tokens[len(tokens) - len(answer) :])

    def _told(self, rng: np.random.Generator) -> list[tuple[str, str]]:
        """Cities and their numbers; the first is the one that is asked for."""
        chosen = rng.permutation(len(self.cities))[: 1 + self.distractors]
        return [(self.cities[i], "".join(map(str, rng.integers(10, size=self.digits)))) for i in chosen]

    def _forced(self, subject: Subject, trials: Sequence[Trial]) -> list[bool]:
        width = max(len(trial.answer) for trial in trials)
        hits: list[bool] = []
        for rows, count in batches([_row(trial.tokens) for trial in trials], self.batch_tokens):
            now = trials[len(hits) : len(hits) + count]
            places = np.stack([_places(trial, width) for trial in now])
            places = np.pad(places, ((0, len(rows) - count), (0, 0)), mode="edge")
            said = best_next(subject.model, rows, places)
            hits += [np.array_equal(ids[-len(t.answer) :], t.answer) for ids, t in zip(said, now, strict=False)]
        return hits

    def _decoded(self, subject: Subject, trials: Sequence[Trial]) -> list[bool]:
        width = max(len(trial.answer) for trial in trials)
        hits: list[bool] = []
        for rows, count in batches([_row(trial.tokens) for trial in trials], self.batch_tokens):
            now = trials[len(hits) : len(hits) + count]
            now = [*now, *[now[-1]] * (len(rows) - count)]
            prompts = [trial.tokens[: -len(trial.answer)] for trial in now]
            said = generate(
                subject.model, prompts, sampler=Greedy(), key=jax.random.key(0), max_new=width
            )  # fmt: skip
            found = [np.array_equal(ids[: len(t.answer)], t.answer) for ids, t in zip(said, now, strict=True)]
            hits += found[:count]
        return hits


def _row(tokens: np.ndarray) -> Row:
    length = len(tokens)
    return Row(tokens, np.ones(length, np.int32), np.arange(length, dtype=np.int32), np.zeros(length, np.float32))


def _places(trial: Trial, width: int) -> np.ndarray:
    """Where each of the answer's ids is foretold; the last `len(answer)` of `width` places."""
    return np.arange(len(trial.tokens) - 1 - width, len(trial.tokens) - 1)


def _records(trials: Sequence[Trial], hits: Sequence[bool], context: int) -> list[dict[str, Any]]:
    cells: dict[tuple[str, float], list[bool]] = {}
    for trial, hit in zip(trials, hits, strict=True):
        cells.setdefault((trial.kind, trial.depth), []).append(hit)
    return [
        {"kind": kind, "context": context, "depth": depth, "correct": sum(found), "total": len(found)}
        | dict(zip(("low", "high"), wilson(sum(found), len(found)), strict=True))
        for (kind, depth), found in cells.items()
    ]


def _accuracy(records: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Share of hits at each context, over all depths."""
    sums: dict[str, list[int]] = {}
    for record in records:
        if record["kind"] == kind:
            correct, total = sums.setdefault(str(record["context"]), [0, 0])
            sums[str(record["context"])] = [correct + record["correct"], total + record["total"]]
    return {context: correct / total for context, (correct, total) in sums.items()}


def wilson(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Bounds of a share of which `correct` of `total` was seen: 95% by default (Wilson 1927)."""
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
