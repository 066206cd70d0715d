"""Conformance kits of the kinds that this plugin adds: `check_question_writer(part)` and `check_task(part)`.

Owns what a good part does, on a small story, and no test runner: `lwm_registry.conformance` calls these by name.
"""

import numpy as np

from lwm_synthesis.base import Chunk, Context, Exercise, Pair, QuestionWriter, Task
from lwm_synthesis.endpoint import EndpointError


TEXT = (
    "The lighthouse keeper Amos Fell rowed out to the reef at dawn on Tuesday. He carried seventeen lanterns in a "
    "wicker basket, wrapped in sailcloth. By noon the fog had swallowed the harbour bells and the gulls alike! Nobody "
    "in Port Quillan had seen weather so thick since 1843. Amos lit the first lantern and hung it on the broken mast. "
    "The light reached barely twenty yards across the grey water. A schooner called the Marigold answered with three "
    "blasts of her horn. "
)
OTHER = (
    "Copper kettles were sold at the autumn fair by the widow Tamsin, who charged eleven pence for the smallest one. "
)


def _chunks(text: str, count: int) -> tuple[Chunk, ...]:
    """The same story in several years, so that neighbouring chunks differ."""
    return tuple(Chunk(text.replace("1843", str(1843 + i)), f"story#{i}", len(text)) for i in range(count))


def check_question_writer(writer: QuestionWriter) -> None:
    """Raises `AssertionError` unless each chunk gets a pair of texts or None, in order, and none gets none."""
    assert isinstance(writer, QuestionWriter), f"{type(writer).__name__} is no QuestionWriter."
    assert writer.batch >= 1 and isinstance(writer.costly, bool)
    assert all(hasattr(writer, name) for name in writer.speed), f"Not all of {writer.speed} are options of it."
    assert writer.write([]) == [], "No chunk, and yet a pair."
    chunks = _chunks(TEXT, 3)
    try:
        pairs = writer.write(chunks)
    except EndpointError as error:  # an example cannot bring a server along: then it must say what to do
        assert "http" in str(error), f"{error} does not name what could not be reached."
        return
    assert len(pairs) == 3, f"{len(pairs)} pairs for 3 chunks."
    for pair in pairs:
        assert pair is None or (isinstance(pair, Pair) and pair.question.strip() and pair.answer.strip()), repr(pair)


def check_task(task: Task) -> None:
    """Raises `AssertionError` unless exercises are pure, well formed, and made of the context that is given."""
    assert isinstance(task, Task), f"{type(task).__name__} is no Task."
    context = Context((*_chunks(TEXT, 1), *_chunks(OTHER, 1)), Chunk("Zebras graze at night.", "elsewhere#0", 4))
    first, second = (_made(task, context) for _ in range(2))
    assert first == second, "The same context and seed give another exercise."
    assert first is None or (isinstance(first, Exercise) and first.pairs), f"{first!r} asks nothing."
    for pair in first.pairs if first else ():
        assert pair.question.strip() and pair.answer.strip(), f"{pair!r} is empty."
    bare = Context((Chunk("ok ", "bare#0", 1),), None)
    nothing = _made(task, bare)
    assert nothing is None or nothing.pairs, "A context with nothing in it gives an empty exercise."


def _made(task: Task, context: Context) -> Exercise | None:
    wanted = task.wants(context, np.random.default_rng(0))
    known = {*context.chunks, context.elsewhere}
    assert all(chunk in known for chunk in wanted), "It wants a chunk that it was not given."
    pairs = [Pair(f"What is told first in {chunk.name}?", chunk.text.split()[0]) for chunk in wanted]
    return task.make(context, pairs, np.random.default_rng(1))
