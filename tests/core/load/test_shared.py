"""Processes that stream together get the rows of one alone, and each renders its share; here each is a thread."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from lwm_core.data import BestFitPacker, Document, Renderer
from lwm_core.load import Stream
from lwm_core.load.blocks import Block
from lwm_core.load.shared import packed, unpacked
from lwm_core.processes.base import listening
from lwm_core.processes.parcels import Parcels
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


BYTES = ByteTokenizer()
VOCABULARY = Vocabulary((Modality("text", BYTES.size, BYTES.markers),))


@dataclass(eq=False)
class Counted:
    """Documents by number, which counts who has read which; `bad` cannot be read."""

    size: int
    bad: int = -1
    read: list = field(default_factory=list)

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.bad:
            raise ValueError("this one is bad")
        self.read.append(index)
        return Document.of_text(f"document {index} " * (1 + index % 9))


@pytest.fixture
def parcels():
    """Of three processes that have met."""
    servers = [listening(0) for _ in range(3)]
    addresses = [("127.0.0.1", server.getsockname()[1]) for server in servers]
    made = [Parcels(index, addresses, "token", server) for index, server in enumerate(servers)]
    yield made
    for each in made:
        each.close()


def streamed(share=None, **options):
    sources = {"a": Counted(3000), "b": Counted(500)}
    render = Renderer(VOCABULARY, BYTES, "text.bos", "text.eos")
    made = Stream(
        sources, {"a": 0.7, "b": 0.3}, render, BestFitPacker(128, 4), 16, seed=3, share=share, ahead=1, **options
    )
    return made, sources


def taken(stream, steps, state=None):
    with stream:
        state, found = stream.init() if state is None else state, []
        for _ in range(steps):
            state, rows = stream.next(state)
            found.append(np.stack([np.stack([row.tokens, row.segment, row.position]) for row in rows]))
        return state, found


def by_all(parcels, steps, state=None):
    made = [streamed(each.open) for each in parcels]
    # Steps keep processes together in training; here a barrier ends them together.
    barrier = threading.Barrier(len(parcels))

    def one(stream):
        with stream:
            now, found = stream.init() if state is None else state, []
            for _ in range(steps):
                now, rows = stream.next(now)
                found.append(np.stack([np.stack([row.tokens, row.segment, row.position]) for row in rows]))
            barrier.wait(60)
        return now, found

    with ThreadPoolExecutor(len(parcels)) as pool:
        return list(pool.map(one, [stream for stream, _ in made])), [sources for _, sources in made]


def test_rows_are_those_of_one_process_and_the_reading_is_shared(parcels):
    steps = 40
    lone, sources = streamed()
    state, rows = taken(lone, steps)
    shared, read = by_all(parcels, steps)
    for its_state, its_rows in shared:
        np.testing.assert_array_equal(its_rows, rows)
        assert its_state == state, "a run may go on with another number of processes"
    alone = sum(len(source.read) for source in sources.values())
    counts = [sum(len(source.read) for source in of.values()) for of in read]
    assert max(counts) < 0.5 * alone, (counts, alone)
    assert sum(counts) < 1.5 * alone, (counts, alone)  # what each has read ahead included


def test_it_goes_on_from_a_state_of_one_process(parcels):
    state, _ = taken(streamed()[0], 5)
    _, rows = taken(streamed()[0], 4, state)
    for _, its_rows in by_all(parcels, 4, state)[0]:
        np.testing.assert_array_equal(its_rows, rows)


def test_what_one_cannot_read_stops_all_and_is_said(parcels):
    errors = []

    def one(each):
        stream = Stream(
            {"a": Counted(40, bad=7)}, {"a": 1.0}, Renderer(VOCABULARY, BYTES), BestFitPacker(64, 2), 4, share=each.open
        )
        state = stream.init()
        try:
            for _ in range(60):
                state, _ = stream.next(state)
        except ValueError as error:
            errors.append(str(error))

    with ThreadPoolExecutor(len(parcels)) as pool:
        list(pool.map(one, parcels))
    assert len(errors) == 3
    assert "this one is bad" in errors, errors
    assert all("this one is bad" in error or "ended before it gave" in error for error in errors), errors


@pytest.mark.parametrize("top", [200, 2**16 - 1, 2**16])
def test_a_block_arrives_as_it_was_sent(top):
    from lwm_core.data import Sample

    random = np.random.default_rng(top)
    sizes = (3, 0, 50)
    samples = [
        Sample(
            np.append(random.integers(0, top, size), [top]).astype(np.int32),
            random.integers(0, 2, size + 1).astype(np.float32) / 3,
            f"document {size}",
            "näme",
        )
        for size in sizes
    ]
    block = unpacked(packed(Block([samples[0], None, *samples[1:]], ValueError("no"))), "process 4")
    assert block.samples[1] is None
    assert str(block.error) == "process 4 could not read: ValueError: no"
    for sent, got in zip(samples, [block.samples[0], *block.samples[2:]], strict=True):
        assert got is not None and (got.name, got.source) == (sent.name, sent.source)
        np.testing.assert_array_equal(got.tokens, sent.tokens)
        np.testing.assert_array_equal(got.loss, sent.loss)
        assert (got.tokens.dtype, got.loss.dtype) == (np.int32, np.float32)


def test_a_stream_is_a_part_or_shared():
    with pytest.raises(ValueError, match="a stream is one part, or shared"):
        streamed(share=lambda: None, shard=(0, 2))
