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
from typing import Any

import jax

from lwm_core.data import DataSource, Packer, Renderer
from lwm_core.layout.contiguous import Contiguous
from lwm_core.load import Stream
from lwm_core.text import TextTokenizer
from lwm_core.train.feed import to_batch
from lwm_core.vocab import Modality, Vocabulary


@dataclass(frozen=True)
class TextCase:
    """One collection of documents, how it is packed, and how many tokens make a measurement."""

    name: str
    source: DataSource
    tokenizer: TextTokenizer
    packer: Packer
    tokens: int
    rows: int = 8


def race(case: TextCase, peers: dict[str, Callable[[Sequence[str]], Any]], rounds: int) -> dict[str, Any]:
    """Tokens a second of the path and of each peer, in turns; medians, and the path's share of each peer by round.

    - `peers`: name → what encodes a list of texts; its result is not looked at.
    """
    texts = [str(span.content) for i in range(len(case.source)) for span in case.source[i].spans]
    epoch = sum(len(case.tokenizer.encode(text)) for text in texts)
    epochs = max(1, round(case.tokens / epoch))
    runs = {"path": lambda: _path(case, epochs * epoch)}
    runs |= {name: (lambda encode=encode: _alone(encode, texts, epochs, epoch)) for name, encode in peers.items()}
    for run in runs.values():
        run()  # caches of the tokenizer, and what is compiled once
    speeds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            speeds[name].append(run())
    shares = {
        name: statistics.median(p / q for p, q in zip(speeds["path"], speeds[name], strict=True)) for name in peers
    }
    return {
        "case": case.name,
        "documents": len(texts),
        "tokens_per_document": epoch / len(texts),
        "tokens_per_run": epochs * epoch,
        "packer": repr(case.packer),
        "threads": int(os.environ.get("RAYON_NUM_THREADS", len(os.sched_getaffinity(0)))),
        "tokens_per_second": {name: statistics.median(found) for name, found in speeds.items()},
        "rounds": speeds,
        "share_of_peer": shares,
    }


def _path(case: TextCase, tokens: int) -> float:
    """Tokens a second of training's path, its start and its threads' start included."""
    vocabulary = Vocabulary((Modality("text", case.tokenizer.size, case.tokenizer.markers),))
    render = Renderer(vocabulary, case.tokenizer, begin="text.bos", end="text.eos")
    start, seen = time.perf_counter(), 0
    with Stream({"text": case.source}, {"text": 1.0}, render, case.packer, case.rows) as stream:
        state = stream.init()
        while seen < tokens:
            state, rows = stream.next(state)
            jax.block_until_ready(to_batch(rows, Contiguous()))
            seen = state["tokens"]["all"]
        return seen / (time.perf_counter() - start)


def _alone(encode: Callable[[Sequence[str]], Any], texts: Sequence[str], epochs: int, epoch: int) -> float:
    start = time.perf_counter()
    for _ in itertools.repeat(None, epochs):
        encode(texts)
    return epochs * epoch / (time.perf_counter() - start)
