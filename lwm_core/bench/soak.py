"""Memory while a stream runs: resident bytes, sampled every so many tokens.

Owns the sampling and a source that needs no file: documents of ids made by number, so that a billion tokens pass in
minutes. What is streamed and packed is training's own path after the tokenizer.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data import DataSource, Document, Packer, Renderer, Span
from lwm_core.load import Stream
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


@dataclass(frozen=True)
class MadeUp:
    """`count` documents of ids, their lengths log-normal around `median`, as those of web pages are."""

    count: int = 100_000
    median: int = 1000
    spread: float = 1.0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Document:
        random = np.random.default_rng([11, index])
        size = int(np.clip(self.median * np.exp(self.spread * random.standard_normal()), 2, 200 * self.median))
        return Document((Span("text", random.integers(0, 256, size, np.int32)),), f"made up {index}")


def soak(
    packer: Packer, tokens: int, every: int, sources: Mapping[str, DataSource], mixture: Mapping[str, float]
) -> dict[str, Any]:
    """Streams `tokens` tokens and returns resident memory after every `every`, and the speed."""
    vocabulary = Vocabulary((Modality("text", 258, ByteTokenizer().markers),))
    render = Renderer(vocabulary, ByteTokenizer(), begin="text.bos", end="text.eos")
    samples, start, seen = [], time.perf_counter(), 0
    with Stream(sources, mixture, render, packer, rows=16) as stream:
        state = stream.init()
        while seen < tokens:
            state, _ = stream.next(state)
            seen = sum(state["tokens"].values())
            if seen >= every * (len(samples) + 1):
                samples.append({"tokens": seen, "resident_bytes": resident()})
    seconds = time.perf_counter() - start
    settled = [s["resident_bytes"] for s in samples[len(samples) // 10 :]]
    return {
        "tokens": seen,
        "seconds": seconds,
        "tokens_per_second": seen / seconds,
        "packer": repr(packer),
        "mixture": dict(mixture),
        "served": {name: at["served"] for lane in state["lanes"].values() for name, at in lane["sources"].items()},
        "resident_bytes_after_a_tenth": settled[0],
        "resident_bytes_most": max(settled),
        "resident_bytes_end": settled[-1],
        "growth": settled[-1] / settled[0] - 1,
        "samples": samples,
    }


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
