"""The samples of one source in order, read ahead by Grain in threads or in worker processes.

Owns reading ahead and its extent. Which document a draw is, `blocks` says; when it is taken, a `Lane`.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grain
from absl import flags

from lwm_core.data import Sample, Span
from lwm_core.load.blocks import Block, Blocks, Draws, Render
from lwm_core.load.shared import Exchange, SharedBlocks, mine


LARGEST = 1024  # documents of a block
PROBED = 4  # documents that are looked at to choose how many make a block
LETTERS = 4  # of a token of text, about


@dataclass(frozen=True)
class Reading:
    """How to read ahead: `ahead` blocks of about `tokens` tokens, by so many threads, or worker processes instead."""

    threads: int
    ahead: int
    workers: int
    tokens: int


class Reader:
    """Goes through the draws of one source from a place on.

    - `exchange`: other processes that go through the same draws; each reads its share of the blocks for all.
    """

    def __init__(self, draws: Draws, render: Render, place: int, how: Reading, exchange: Exchange | None = None):
        self._draws, self._render, self._how, self._exchange = draws, render, how, exchange
        self._place = place
        self._blocks: Iterator[Block | dict[str, Any]] | None = None
        self._block, self._at = Block([]), 0

    def current(self) -> Sample | None:
        """The sample of the draw at hand; None for a document that is left out. Raises what reading it raised."""
        while self._at == len(self._block.samples):
            if self._block.error is not None:
                raise self._block.error
            if self._blocks is None:
                self._blocks = self._opened()
            block = next(self._blocks)
            self._block = block if isinstance(block, Block) else Block.together(block)
            self._at = 0
        return self._block.samples[self._at]

    def advance(self) -> None:
        """Turns to the next draw."""
        self._at += 1

    @property
    def epoch(self) -> int:
        """Draws in which this process has seen its part of the source."""
        return -(-len(self._draws.source) // self._draws.shard[1])

    def close(self) -> None:
        """Stops threads and processes."""
        if self._blocks is not None:
            self._blocks.close()  # pyright: ignore[reportAttributeAccessIssue]  (Grain's iterators have it)

    def _opened(self) -> Iterator[Block | dict[str, Any]]:
        how, draws, size = self._how, self._draws, self._block_size()
        some = (0, 1) if self._exchange is None else mine(draws.name, self._exchange)
        blocks = Blocks(draws, self._render, self._place, size, apart=how.workers > 0, some=some)
        options = grain.ReadOptions(num_threads=how.threads, prefetch_buffer_size=how.ahead)
        dataset = grain.MapDataset.source(blocks).to_iter_dataset(options)
        if how.workers:
            flags.FLAGS.mark_as_parsed()  # Grain reads its flags, which a program without absl never parses
            processes = grain.MultiprocessingOptions(how.workers, per_worker_buffer_size=max(1, how.ahead))
            dataset = dataset.mp_prefetch(processes, worker_init_fn=_begin_work)
        own = iter(dataset)
        if self._exchange is None:
            return own
        return SharedBlocks(own, self._exchange, draws.name, self._place, size, how.ahead)

    def _block_size(self) -> int:
        """Documents of a block, by what the next few hold. It changes the speed only, so a bad one is no matter."""
        try:
            documents = self._draws.documents(range(self._place, self._place + PROBED))
        except Exception:  # said again, with its place, when its sample is asked for
            return 1
        tokens = sum(map(_tokens, (span for document in documents for span in document.spans)))
        return max(1, min(LARGEST, PROBED * self._how.tokens // max(tokens, 1)))


def _tokens(span: Span) -> int:
    return len(span.content) // LETTERS if isinstance(span.content, str) else len(span.content)


def _begin_work(index: int, count: int) -> None:
    """What a worker process does first: it keeps off devices, and ends when the program that it works for has."""
    import jax  # here, since only a worker process needs it

    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a program that was killed wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
