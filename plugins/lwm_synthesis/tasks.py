"""What is asked about a context: written questions, quotations by keyword or place, gaps, order, and what is not there.

Owns the tasks. Qwen2.5-1M (2025) trains on the same family: fill-in-the-middle, retrieval by keyword and by position,
paragraphs in disorder; the first task is the paper's. Contexts and their limits are `source`'s.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwm_synthesis.base import Chunk, Context, Exercise, Pair
from lwm_synthesis.sentences import WORD, once, picked, sentences, squeezed


UNKNOWN = "The text does not say."


@dataclass(frozen=True)
class Questions:
    """Pairs that a writer wrote about chunks of the context, after all of it.

    - `pairs`: how many at most, of chunks drawn at random; asked in another order than they are told.
    """

    pairs: int = 8

    def __post_init__(self):
        _at_least(self, "pairs", 1)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        return tuple(picked(rng, list(context.chunks))[: self.pairs])

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        told = tuple(dict.fromkeys(pair for pair in pairs if pair is not None))
        return Exercise(context.text, told) if told else None


@dataclass(frozen=True)
class Unanswerable:
    """Questions about the context, one of which is about another document; its answer is that the text does not say.

    - `pairs`: questions that can be answered, beside it; - `answer`: what is said to the one that cannot.
    """

    pairs: int = 1
    answer: str = UNKNOWN

    def __post_init__(self):
        _at_least(self, "pairs", 0)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        if context.elsewhere is None:
            return ()
        return (context.elsewhere, *picked(rng, list(context.chunks))[: self.pairs])

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        if not pairs or pairs[0] is None or squeezed(pairs[0].answer).lower() in squeezed(context.text).lower():
            return None
        told = [Pair(pairs[0].question, self.answer), *(pair for pair in pairs[1:] if pair is not None)]
        return Exercise(context.text, tuple(picked(rng, told)), made=self.answer)


@dataclass(frozen=True)
class Keyword:
    """Quote the one sentence that holds two given words.

    - `pairs`: how many questions; - `shortest`, `longest`: words of the sentences that are asked for.
    """

    pairs: int = 2
    shortest: int = 6
    longest: int = 40

    def __post_init__(self):
        _at_least(self, "pairs", 1)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        return ()

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        text, told = context.text, []
        counts = Counter(word.lower() for word in WORD.findall(text))
        for found in picked(rng, sentences(text, fewest=self.shortest, most=self.longest)):
            words = list(dict.fromkeys(WORD.findall(text, found.start, found.stop)))
            rare = [word for word in words if counts[word.lower()] == 1 and len(word) > 2]
            if len(rare) >= 2:
                first, second = picked(rng, rare)[:2]
                question = f'Quote the sentence of the text that has both "{first}" and "{second}" in it.'
                told.append(Pair(question, squeezed(text[found.start : found.stop])))
            if len(told) == self.pairs:
                break
        return Exercise(text, tuple(told)) if told else None


@dataclass(frozen=True)
class Position:
    """Quote the sentence right before or right after another.

    - `pairs`: how many questions; - `shortest`, `longest`: words of the sentences.
    """

    pairs: int = 2
    shortest: int = 4
    longest: int = 60

    def __post_init__(self):
        _at_least(self, "pairs", 1)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        return ()

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        text, told = context.text, []
        found = sentences(text)
        fit = set(once(text, sentences(text, fewest=self.shortest, most=self.longest)))
        quoted = [squeezed(text[s.start : s.stop]) for s in found]
        # Neighbours in the text whose words occur once: then "the sentence after" is one sentence.
        places = [i for i in range(1, len(found)) if found[i - 1] in fit and found[i] in fit]
        for place in picked(rng, places)[: self.pairs]:
            if rng.random() < 0.5:
                told.append(Pair(f'Which sentence comes right after "{quoted[place - 1]}"?', quoted[place]))
            else:
                told.append(Pair(f'Which sentence comes right before "{quoted[place]}"?', quoted[place - 1]))
        return Exercise(text, tuple(told)) if told else None


@dataclass(frozen=True)
class FillIn:
    """Write what was taken out of the middle of the text.

    - `sentences`: how many in a row are taken out; - `gap`: what stands in their place.
    """

    sentences: int = 2
    gap: str = "[...]"

    def __post_init__(self):
        _at_least(self, "sentences", 1)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        return ()

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        text = context.text
        found = sentences(text)
        if len(found) < self.sentences + 2 or self.gap in text:
            return None
        first = int(rng.integers(1, len(found) - self.sentences))
        start, stop = found[first].start, found[first + self.sentences - 1].stop
        if text.count(text[start:stop]) != 1:
            return None
        question = f'A part of the text was taken out and "{self.gap}" put in its place. Write that part.'
        return Exercise(f"{text[:start]}{self.gap}{text[stop:]}", (Pair(question, squeezed(text[start:stop])),))


@dataclass(frozen=True)
class Reorder:
    """Say in which order the shuffled parts of the text belong. - `parts`: how many."""

    parts: int = 5

    def __post_init__(self):
        _at_least(self, "parts", 2)

    def wants(self, context: Context, rng: np.random.Generator) -> tuple[Chunk, ...]:
        return ()

    def make(self, context: Context, pairs: Sequence[Pair | None], rng: np.random.Generator) -> Exercise | None:
        text = context.text
        found = sentences(text)
        if len(found) < 2 * self.parts:
            return None
        edges = [0, *(found[len(found) * i // self.parts].start for i in range(1, self.parts)), len(text)]
        parts = [text[a:b].strip() for a, b in zip(edges, edges[1:], strict=False)]
        order = rng.permutation(self.parts)
        if len(set(parts)) < self.parts or (np.diff(order) == 1).all():
            return None
        shown = "\n\n".join(f"Part {place + 1}: {parts[part]}" for place, part in enumerate(order))
        answer = ", ".join(str(place + 1) for place in np.argsort(order))
        question = f"The {self.parts} parts of the text are out of order. List their numbers in the right order."
        return Exercise(shown, (Pair(question, answer),), made=answer)


def _at_least(task: object, option: str, least: int) -> None:
    if getattr(task, option) < least:
        raise ValueError(f"{option}={getattr(task, option)}: give at least {least}.")
