"""Long documents with questions at their end, as a source: example i is made from (seed, i) alone.

Owns how a context is drawn, which task is set on it, its length, and that nothing withheld gets in. Writers, tasks and
the guard are parts. Writing the same examples to a file, as records, is `write`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data import Chat, DataSource, Document, Message
from lwm_core.text import TextTokenizer
from lwm_registry import catalog
from lwm_registry.plain import Plain
from lwm_synthesis.base import Chunk, Context, Exercise, Pair, QuestionWriter, Task
from lwm_synthesis.chunks import Chunker
from lwm_synthesis.guard import Guard
from lwm_synthesis.rules import RuleWriter
from lwm_synthesis.tasks import Questions


TRIES = 50  # contexts drawn for one example before the source gives up
MARKERS = 2  # ids that the renderer adds to a document


class Draft(NamedTuple):
    """A context and the task set on it, before anybody has written a question. `place` is (example, try)."""

    place: tuple[int, int]
    task: str
    context: Context
    wanted: tuple[Chunk, ...]


class Example(NamedTuple):
    """A whole example; `tokens` is its length, `answers` how many of those count."""

    exercise: Exercise
    task: str
    source: str
    tokens: int
    answers: int

    @property
    def messages(self) -> list[Message]:
        """Text and first question together, then question and answer in turn."""
        (first, answer), *rest = self.exercise.pairs
        told = [(f"{self.exercise.text.strip()}\n\n{first}", answer), *rest]
        return [
            Message.of(role, words) for turn in told for role, words in zip(("user", "assistant"), turn, strict=True)
        ]


@dataclass(frozen=True)
class Synthesis:
    """`examples` documents: neighbouring chunks of `documents`, then questions on them; only the answers carry loss.

    - `documents`: a source of text; `tokenizer`: of the model that will read them;
    - `examples`: how many; `length`: tokens in each at most, begin and end included; `reserve`: how many of them are
      kept for questions and answers, None for an eighth of `length`, at most 512;
    - `chunk`: tokens in a chunk, the paper's 1000; a chunk is what a writer sees;
    - `writer`: who writes the questions of tasks that want written ones;
    - `tasks`: name → task; `shares`: name → share of the examples, None for equal ones;
    - `guard`: what must not get in; - `chat`: the wording; - `seed`.

    Iterating with a costly writer asks it each time: write the records to a file once instead (`lwm synthesise`).
    """

    documents: DataSource
    tokenizer: TextTokenizer
    examples: int = 1000
    length: int = 32_768
    reserve: int | None = None
    chunk: int = 1000
    writer: QuestionWriter = RuleWriter()
    tasks: Mapping[str, Task] = field(default_factory=lambda: {"questions": Questions()})
    shares: Mapping[str, float] | None = None
    guard: Guard = field(default_factory=Guard)
    chat: Chat = Chat()
    seed: int = 0

    def __post_init__(self):
        for name in ("examples", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        if not len(self.documents):
            raise ValueError("`documents` holds no document: give a source with at least one.")
        room = self.length - self._reserve - MARKERS
        if self._reserve < 1 or room < self.chunk:
            raise ValueError(
                f"length={self.length} with reserve={self._reserve} for the questions holds no chunk of {self.chunk} "
                f"tokens: give a longer length, or chunk <= {max(room, 1)}."
            )
        if not self.tasks:
            raise ValueError("No task: give at least one, such as questions.")
        if self.shares is not None:
            self._check_shares(self.shares)

    def _check_shares(self, shares: Mapping[str, float]) -> None:
        given = ", ".join(f"{name} = {share:g}" for name, share in shares.items())
        if set(shares) != set(self.tasks):
            raise ValueError(f"shares ({given}) and tasks ({', '.join(self.tasks)}) differ: give each task its share.")
        if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares: {given} sum to {sum(shares.values()):g}: give shares above 0 that sum to 1.")

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, index: int) -> Document:
        refused: list[str] = []
        for attempt in range(TRIES):
            draft = self.draft(index, attempt)
            made = self.finish(draft, self.writer.write(draft.wanted) if draft.wanted else [])
            if isinstance(made, Example):
                return Document(
                    self.chat.spans(made.messages), f"synthesis:{self.seed}:{index}", self.facts(made, index)
                )
            refused.append(made)
        raise self.exhausted(index, refused)

    def draft(self, index: int, attempt: int) -> Draft:
        """The context and the task of example `index`, at the given try; raises `IndexError` outside the source."""
        if not 0 <= index < self.examples:
            raise IndexError(f"Example {index} of {self.examples}.")
        rng = np.random.default_rng([self.seed, index, attempt, 0])
        name = self._task(index)
        context = self._context(rng)
        return Draft((index, attempt), name, context, self.tasks[name].wants(context, rng) if context.chunks else ())

    def finish(self, draft: Draft, pairs: Sequence[Pair | None]) -> Example | str:
        """The example, given what was written for its draft; or why it is left out."""
        if not draft.context.chunks:
            return "no text"
        rng = np.random.default_rng([self.seed, *draft.place, 1])
        exercise = self.tasks[draft.task].make(draft.context, pairs, rng)
        if exercise is None or not exercise.pairs:
            return f"nothing to ask for {draft.task}"
        if overlap := self.guard.overlaps(exercise):
            if self.guard.overlap == "fail":
                where = draft.context.chunks[0].name
                raise ValueError(f"An exercise on {where} overlaps with an evaluation: {overlap}. Nothing was kept.")
            return f"overlap: {overlap}"
        return self._fitted(Example(exercise, draft.task, draft.context.chunks[0].name, 0, 0))

    def facts(self, example: Example, index: int, left_out: Sequence[str] = ()) -> dict[str, Any]:
        """What is told of an example beside its words."""
        facts = {"task": example.task, "index": index, "seed": self.seed, "from": example.source}
        facts |= {"tokens": example.tokens, "answer_tokens": example.answers, "pairs": len(example.exercise.pairs)}
        return {**facts, "left_out": list(left_out)} if left_out else facts

    @staticmethod
    def exhausted(index: int, refused: Sequence[str]) -> ValueError:
        """The error of an example that no try could make."""
        reasons = "; ".join(f"{reason} ({refused.count(reason)} times)" for reason in dict.fromkeys(refused))
        return ValueError(
            f"Example {index} could not be made in {len(refused)} tries: {reasons}. Give more or other documents, "
            "another task, or a guard that withholds less."
        )

    def write_records(self, out: Path) -> dict[str, Any]:
        """Writes every example to `out` as a chat record, going on where the file stops; returns counts."""
        from lwm_synthesis.write import write_records  # here, since writing knows sources and not the other way round

        return write_records(self, out, self._stamp).plain()

    @property
    def _stamp(self) -> str:
        """Changes with whatever changes an example: not with how many there are, nor with the writer's speed."""
        plain = Plain(catalog(), lenient=True).write(self, "synthesis")
        writer = {name: value for name, value in plain["writer"].items() if name not in self.writer.speed}
        text = json.dumps({**plain, "writer": writer, "examples": None}, sort_keys=True)
        return blake2b(text.encode(), digest_size=6).hexdigest()

    def _fitted(self, example: Example) -> Example | str:
        """The example with as many pairs as its length holds."""
        spans = self.chat.spans(example.messages)
        sizes = [len(self.tokenizer.encode(span.content)) for span in spans if isinstance(span.content, str)]
        pairs, total = len(example.exercise.pairs), sum(sizes) + MARKERS
        while pairs > 1 and total > self.length:
            pairs, total, sizes = pairs - 1, total - sum(sizes[-2:]), sizes[:-2]
        if total > self.length:
            return "longer than `length`"
        kept = example.exercise._replace(pairs=example.exercise.pairs[:pairs])
        return example._replace(exercise=kept, tokens=total, answers=sum(sizes[1::2]) + 1)

    def _task(self, index: int) -> str:
        """By number, so that any run of examples holds each task by its share."""
        names = list(self.tasks)
        shares = [1 / len(names)] * len(names) if self.shares is None else [self.shares[name] for name in names]
        # The golden ratio spreads whole numbers evenly over [0, 1): shares are met at every length.
        place = (index * 0.6180339887498949 + (self.seed % 1009) / 1009) % 1.0
        return names[min(int(np.searchsorted(np.cumsum(shares), place, side="right")), len(names) - 1)]

    def _context(self, rng: np.random.Generator) -> Context:
        """Chunks from a random place on, over the ends of documents, as many as the length holds; the last is cut."""
        room, chunks = self.length - self._reserve - MARKERS, []
        index = int(rng.integers(len(self.documents)))
        found = self._chunker.of(index)
        at = int(rng.integers(len(found))) if found else 0
        for _ in range(len(self.documents)):
            for chunk in found[at:]:
                if chunk.tokens > room:
                    chunks += self._chunker.beginning(chunk, room)
                    return Context(tuple(chunks), self._elsewhere(rng, chunks))
                chunks.append(chunk)
                room -= chunk.tokens
            index, at = (index + 1) % len(self.documents), 0
            found = self._chunker.of(index)
        return Context(tuple(chunks), self._elsewhere(rng, chunks))

    def _elsewhere(self, rng: np.random.Generator, chunks: Sequence[Chunk]) -> Chunk | None:
        """A chunk that is not in the context, from a random document."""
        inside = {chunk.name for chunk in chunks}
        others = [c for c in self._chunker.of(int(rng.integers(len(self.documents)))) if c.name not in inside]
        return others[rng.integers(len(others))] if others else None

    @cached_property
    def _chunker(self) -> Chunker:
        return Chunker(self.documents, self.tokenizer, self.chunk)

    @property
    def _reserve(self) -> int:
        return min(512, self.length // 8) if self.reserve is None else self.reserve
