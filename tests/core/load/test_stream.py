"""The stream: exact state at every step, epochs, shards, workers, and errors that come through."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from lwm_core.data import BestFitPacker, Document, Documents, PaddingPacker, Renderer, SequentialPacker, Span
from lwm_core.data.apart import ApartPacker
from lwm_core.load import Stream
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


BYTES = ByteTokenizer()
VOCABULARY = Vocabulary((Modality("text", 258, BYTES.markers), Modality("vision", 1000)))
RENDER = Renderer(VOCABULARY, BYTES)


@dataclass(frozen=True)
class Procedural:
    """Documents made by number, one of them longer than many rows."""

    count: int = 23

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        random = np.random.default_rng([7, index])
        size = 150 if index == 5 else int(random.integers(1, 30))
        return Document((Span("vision", random.integers(0, 1000, size)),), f"made {index}")


def numbered(count, name):
    """Documents of two tokens: the number, and what follows it."""
    return Documents(tuple(Document((Span("vision", np.array([i, 999])),), f"{name} {i}") for i in range(count)))


SOURCES = {"text": Documents.of_texts([f"text number {i} " * (1 + i % 5) for i in range(17)]), "made": Procedural()}
MIXTURE = {"text": 0.25, "made": 0.75}
PACKERS = [
    SequentialPacker(32),
    SequentialPacker(32, "long", "example"),
    PaddingPacker(32),
    BestFitPacker(32, 3),
    ApartPacker(32, BestFitPacker(32, 3)),
]


def stream(packer=PACKERS[0], rows=3, **options):
    return Stream(SOURCES, MIXTURE, RENDER, packer, rows, **{"seed": 5, **options})


def arrays(rows):
    return [np.stack([row.tokens, row.segment, row.position, row.loss]) for row in rows]


def take(some, count, state=None):
    """The states before each step and after the last, and the steps."""
    states, steps = [json.dumps(some.init() if state is None else state)], []
    state = json.loads(states[0])
    with some:
        for _ in range(count):
            state, rows = some.next(state)
            states.append(json.dumps(state))
            steps.append(arrays(rows))
    return states, steps


@pytest.mark.parametrize("packer", PACKERS, ids=lambda p: type(p).__name__)
def test_a_stream_saved_at_any_step_goes_on_exactly(packer):
    states, steps = take(stream(packer), 30)
    assert all(len(step) == 3 for step in steps)
    for step in range(0, 30, 2):
        again, continued = take(stream(packer), 2, json.loads(states[step]))
        assert again[: 31 - step] == states[step : step + 3]
        np.testing.assert_array_equal(continued[0], steps[step])


def test_one_stream_goes_back_to_an_earlier_state_when_asked():
    some = stream()
    with some:
        first = some.init()
        second, rows = some.next(first)
        some.next(second)
        np.testing.assert_array_equal(arrays(some.next(first)[1]), arrays(rows))


@pytest.mark.parametrize("options", [{"threads": 0, "ahead": 0}, {"threads": 5, "ahead": 40}])
def test_threads_change_the_speed_only(options):
    assert_same(take(stream(), 12), take(stream(**options), 12))


def test_worker_processes_change_the_speed_only():
    assert_same(take(stream(), 6), take(stream(workers=2, ahead=2), 6))


def assert_same(one, other):
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])


def draws(steps):
    """The documents behind padded rows of two tokens, in order."""
    return [int(row[0][0]) - VOCABULARY.range("vision").start for step in steps for row in step]


def counting(count, **options):
    bare = Renderer(VOCABULARY, BYTES, end=None)
    return Stream({"n": numbered(count, "n")}, {"n": 1.0}, bare, PaddingPacker(2), 1, **options)


def test_every_epoch_sees_every_document_once_in_a_new_order():
    seen = draws(take(counting(10), 30)[1])
    epochs = [seen[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert draws(take(counting(10, seed=1), 10)[1]) != epochs[0]
    assert draws(take(counting(3, shuffle=False), 6)[1]) == [0, 1, 2, 0, 1, 2]


def test_processes_share_an_epoch_between_them():
    seen = [draws(take(counting(12, shard=(i, 3)), 8)[1]) for i in range(3)]
    for epoch in (0, 4):
        assert sorted(n for shard in seen for n in shard[epoch : epoch + 4]) == list(range(12))


def test_documents_left_out_are_counted_and_resumed_over():
    sources = {"some": Documents.of_texts(["", "one", "", "two"], "some")}
    render = Renderer(VOCABULARY, BYTES, empty="skip")

    def make():
        return Stream(sources, {"some": 1.0}, render, PaddingPacker(8), 1, shuffle=False)

    states, steps = take(make(), 6)
    assert json.loads(states[-1])["lanes"]["all"]["sources"]["some"]["skipped"] == 6
    again, continued = take(make(), 3, json.loads(states[3]))
    assert again == states[3:7]
    np.testing.assert_array_equal(continued, steps[3:])


def test_a_source_of_empty_documents_is_named():
    sources = {"good": Documents.of_texts(["one"]), "bad": Documents.of_texts(["", ""])}
    render = Renderer(VOCABULARY, BYTES, empty="skip")
    with Stream(sources, {"good": 0.5, "bad": 0.5}, render, PaddingPacker(8), 1) as some:
        with pytest.raises(ValueError, match="'bad': none of 2 documents in a row, a whole epoch"):
            some.next(some.next(some.init())[0])


def test_errors_come_through_and_the_stream_can_be_used_again():
    sources = {"some": Documents.of_texts(["one", "two", ""], "some")}
    with Stream(sources, {"some": 1.0}, RENDER, PaddingPacker(8), 1, shuffle=False) as some:
        first, _ = some.next(some.init())
        second, _ = some.next(first)
        for _ in range(2):
            with pytest.raises(ValueError, match="some:2 is empty"):
                some.next(second)
        some.next(first)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 6}, "seed = 5, this one has 6"),
        ({"packer": SequentialPacker(64)}, "length = 32, this one has 64"),
        ({"shard": (0, 2)}, "shard"),
    ],
)
def test_a_state_of_another_stream_is_refused(change, message):
    state = stream().init()
    with pytest.raises(ValueError, match=message):
        stream(**change).next(state)


def test_what_cannot_stream_is_refused():
    with pytest.raises(ValueError, match="mixture names 'video'; the sources are text, made"):
        Stream(SOURCES, {"video": 1.0}, RENDER, PACKERS[0], 1)
    with pytest.raises(ValueError, match="'none' holds no document"):
        Stream({"none": Documents(())}, {"none": 1.0}, RENDER, PACKERS[0], 1)
    with pytest.raises(ValueError, match="rows=0"):
        stream(rows=0)
