"""Questions by a model of this project: a run's folder or an imported model, as `lwm_registry.load` takes it.

Owns the prompt. It needs no model that follows instructions: the question is the model's own continuation of a few
examples, and so is the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lwm_registry import compose, load
from lwm_synthesis.base import Chunk, Pair
from lwm_synthesis.sentences import squeezed


EXAMPLE = (
    "Passage: Call me Ishmael. Some years ago, having little or no money in my purse, I thought I would sail about a "
    "little and see the watery part of the world.\nQuestion: What did Ishmael want to see?\nAnswer: The watery part of "
    "the world.\n\n"
)


@dataclass(frozen=True)
class LocalWriter:
    """Asks the model in `run`: after the passage it writes a question, after the question an answer, a line each.

    - `run`: a run's folder, an imported model's, or a checkpoint's;
    - `recipe`: what describes the model of bare weights, which carry no recipe of their own; None for a run;
    - `question_tokens`, `answer_tokens`: at most so many are written;
    - `batch`: chunks read at once; - `examples`: text before the passage, passages with a question and an answer each.

    Greedy, so that a chunk gives the same pair whatever stands beside it.
    """

    run: Path
    recipe: str | None = None
    question_tokens: int = 48
    answer_tokens: int = 48
    batch: int = 4
    examples: str = EXAMPLE

    def __post_init__(self):
        for name in ("question_tokens", "answer_tokens", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")

    @property
    def costly(self) -> bool:
        return True

    @property
    def speed(self) -> tuple[str, ...]:
        return ("batch",)

    def write(self, chunks: Sequence[Chunk]) -> list[Pair | None]:
        starts = range(0, len(chunks), self.batch)
        return [pair for start in starts for pair in self._pairs(chunks[start : start + self.batch])]

    def _pairs(self, chunks: Sequence[Chunk]) -> list[Pair | None]:
        asked = [f"{self.examples}Passage: {squeezed(chunk.text)}\nQuestion:" for chunk in chunks]
        questions = self._lines(asked, self.question_tokens)
        answered = [f"{text} {question}\nAnswer:" for text, question in zip(asked, questions, strict=True)]
        answers = self._lines(answered, self.answer_tokens)
        return [Pair(q, a) if q and a else None for q, a in zip(questions, answers, strict=True)]

    def _lines(self, prompts: Sequence[str], tokens: int) -> list[str]:
        """What the model writes after each prompt, to the end of the line."""
        import jax  # here, since listing and describing parts needs no device

        from lwm_core.sample import Greedy, Run, generate

        model, tokenizer, vocabulary = self._subject
        begin, end = vocabulary.marker("text.bos"), vocabulary.marker("text.eos")
        local = [np.asarray(tokenizer.encode(prompt), np.int32) for prompt in prompts]
        ids = [[begin, *vocabulary.to_global("text", row).tolist()] for row in local]
        ids += ids[-1:] * (self.batch - len(ids))  # of one size, so that a last, smaller batch compiles nothing anew
        drawn = generate(
            model,
            ids,
            sampler=Greedy(),
            key=jax.random.key(0),
            max_new=tokens,
            stop=[end],
            grammar=Run.of(vocabulary, "text"),
        )
        texts = [tokenizer.decode(vocabulary.to_local("text", row).tolist()) for row in drawn[: len(prompts)]]
        return [text.strip().partition("\n")[0].strip() for text in texts]

    @cached_property
    def _subject(self):
        """The model and how to write to it, read on first use."""
        pipeline = load(self.run) if self.recipe is None else compose(self.recipe, {"weights": str(self.run)})
        subject = pipeline.subject
        return subject.model, subject.tokenizer, subject.vocabulary
