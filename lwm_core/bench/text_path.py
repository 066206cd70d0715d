"""The text path, from files to batches, against `tokenizers` alone on the same documents and threads.

Owns the two runs and their turns. The path is what training does: read, encode, render, mix, pack, make a batch. The
peer has the documents in memory and only encodes them, an epoch to a call.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from lwm_core.data import DataSource, Packer, Renderer
from lwm_core.layout.contiguous import Contiguous
from lwm_core.load import Stream
from lwm_core.text import TextTokenizer
from lwm_core.train.feed import to_batch
from lwm_core.vocab import Modality, Vocabulary


WARM = 1_000_000  # tokens before the clock starts


@dataclass(frozen=True)
class TextCase:
    """One collection of documents, how it is packed, and how many tokens make a measurement."""

    name: str
    source: DataSource
    tokenizer: TextTokenizer
    packer: Packer
    tokens: int
    rows: int = 8


class Speed(NamedTuple):
    """Tokens a second, by the clock and of one core's time."""

    wall: float
    core: float


class _Clock:
    def __init__(self):
        self._wall, self._core = time.perf_counter(), time.process_time()

    def speed(self, tokens: int) -> Speed:
        return Speed(tokens / (time.perf_counter() - self._wall), tokens / (time.process_time() - self._core))


def race(case: TextCase, peers: dict[str, Callable[[Sequence[str]], Any]], rounds: int) -> dict[str, Any]:
    """Tokens a second of the path and of each peer, in turns; medians, and the path's share of each peer by round.

    By the clock, and by the time of all cores together, which other programs on the machine change less.

    - `peers`: name → what encodes a list of texts; its result is not looked at.
    """
    texts = [str(span.content) for i in range(len(case.source)) for span in case.source[i].spans]
    epoch = sum(len(case.tokenizer.encode(text)) for text in texts)
    epochs = max(1, round(case.tokens / epoch))
    runs = {"path": lambda: _path(case, epochs * epoch)}
    runs |= {name: (lambda encode=encode: _alone(encode, texts, epochs, epoch)) for name, encode in peers.items()}
    for run in runs.values():
        run()  # caches of the tokenizer, and what is compiled once
    speeds: dict[str, list[Speed]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            speeds[name].append(run())
    pairs = {name: list(zip(speeds["path"], speeds[name], strict=True)) for name in peers}
    return {
        "case": case.name,
        "documents": len(texts),
        "tokens_per_document": epoch / len(texts),
        "tokens_per_run": epochs * epoch,
        "packer": repr(case.packer),
        "threads": int(os.environ.get("RAYON_NUM_THREADS", len(os.sched_getaffinity(0)))),
        "tokens_per_second": _medians(lambda one: one.wall, speeds),
        "tokens_per_core_second": _medians(lambda one: one.core, speeds),
        "share_of_peer": _medians(lambda both: both[0].wall / both[1].wall, pairs),
        "share_by_core_time": _medians(lambda both: both[0].core / both[1].core, pairs),
        "rounds": {name: [s._asdict() for s in found] for name, found in speeds.items()},
    }


def _path(case: TextCase, tokens: int) -> Speed:
    """Training's path, once its buffers are full: what is read ahead at the end was so at the beginning too."""
    vocabulary = Vocabulary((Modality("text", case.tokenizer.size, case.tokenizer.markers),))
    render = Renderer(vocabulary, case.tokenizer, begin="text.bos", end="text.eos")
    with Stream({"text": case.source}, {"text": 1.0}, render, case.packer, case.rows) as stream:
        state, _ = stream.next(stream.init())
        while (first := state["tokens"]["all"]) < WARM:
            state, _ = stream.next(state)
        clock, seen = _Clock(), first
        while seen - first < tokens:
            state, rows = stream.next(state)
            jax.block_until_ready(to_batch(rows, Contiguous()))
            seen = state["tokens"]["all"]
        return clock.speed(seen - first)


def _alone(encode: Callable[[Sequence[str]], Any], texts: Sequence[str], epochs: int, epoch: int) -> Speed:
    clock = _Clock()
    for _ in itertools.repeat(None, epochs):
        encode(texts)
    return clock.speed(epochs * epoch)


def _medians(what: Callable[[Any], float], found: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.median(map(what, each)) for name, each in found.items()}
