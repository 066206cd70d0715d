"""What synthesis is made of: chunks of documents, the writers of their questions, and the tasks set on a context.

Owns the records and the two interfaces that this plugin adds as kinds of part, `question_writer` and `task`. Source:
the paper (arXiv 2402.08268, section on question answering): chunks of 1000 tokens, one pair a chunk by a short-context
model, neighbouring chunks joined to the context's length, the pairs after them.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class Chunk(NamedTuple):
    """A stretch of one document, `tokens` long in the model's tokenizer; `name` says where it is from."""

    text: str
    name: str
    tokens: int


class Pair(NamedTuple):
    """A question and its answer, without the words that go around them in a chat."""

    question: str
    answer: str


@runtime_checkable
class QuestionWriter(Protocol):
    """Writes a question and its answer about each chunk, seeing that chunk alone.

    The same chunk gives the same pair where the writer can promise it: the rule-based and the local one do.
    """

    @property
    def batch(self) -> int:
        """How many chunks it likes to be given at once."""
        ...

    @property
    def costly(self) -> bool:
        """Whether a pair is worth keeping on disk, so that no chunk is asked about twice."""
        ...

    @property
    def speed(self) -> tuple[str, ...]:
        """Its options that change how it writes and not what, so that work may go on with others of them."""
        ...

    def write(self, chunks: Sequence[Chunk]) -> list[Pair | None]:
        """A pair for each chunk, in order; None where there is nothing to ask, or what came back was no pair."""
        ...


class Context(NamedTuple):
    """What a model will read: neighbouring chunks, and one from elsewhere, whose answers are not in them."""

    chunks: tuple[Chunk, ...]
    elsewhere: Chunk | None

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


class Exercise(NamedTuple):
    """What is read, and what is asked of it. `made`: words of the pairs and the text that no document holds."""

    text: str
    pairs: tuple[Pair, ...]
    made: str = ""


@runtime_checkable
class Task(Protocol):
    """Makes an exercise of a context. Both methods are pure functions of what they are given."""

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        """The chunks that it needs a writer's pairs for; none for a task that writes its own."""
        ...

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        """The exercise, given a pair (or None) for each chunk it wanted; None where this context gives none."""
        ...
