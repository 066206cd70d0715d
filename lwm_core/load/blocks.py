"""The draws of one source by their number, a block at a time: which document, in the order of its epoch, rendered.

Owns that addressing and what a block holds. One Grain element is a block of documents, because each element costs
as much as reading a short document, and because tokenizers are fastest over many texts. Reading ahead is `reader`'s.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, SupportsInt

import numpy as np
from grain.experimental import index_shuffle

from lwm_core.data import DataSource, Document, Sample
from lwm_core.data.base import read_many
from lwm_core.data.order import WindowOrder, order_of
from lwm_core.data.render import RendersMany


Render = Callable[[Document], Sample | None]

LISTED = 2**16  # up to so many documents an epoch's order is a list: Grain's shuffle, 2 µs an index, takes 0.2 to 4 ms


@dataclass(frozen=True)
class Block:
    """Samples of draws in order, None for a document that is left out; an error ends it, where its sample would be.

    A class of its own, so that Grain does not walk through it as a tree.
    """

    samples: list[Sample | None]
    error: Exception | None = None

    def apart(self) -> dict[str, Any]:
        """This block as arrays, which Grain hands from a worker to its program in shared memory, and a small rest.

        What is no array goes through a pipe, and a worker that is told to stop while its pipe is full keeps its
        program waiting for 25 seconds.
        """
        held = [sample for sample in self.samples if sample is not None]
        return {
            "tokens": np.concatenate([np.zeros(0, np.int32), *(sample.tokens for sample in held)]),
            "loss": np.concatenate([np.zeros(0, np.float32), *(sample.loss for sample in held)]),
            "rest": _Rest([None if s is None else (len(s), s.name, s.source) for s in self.samples], self.error),
        }

    @staticmethod
    def together(parts: dict[str, Any]) -> "Block":
        """The block of these parts, in this process's own memory."""
        tokens, loss, rest = np.array(parts["tokens"]), np.array(parts["loss"]), parts["rest"]
        samples: list[Sample | None] = []
        start = 0
        for sample in rest.samples:
            stop = start if sample is None else start + sample[0]
            samples.append(None if sample is None else Sample(tokens[start:stop], loss[start:stop], *sample[1:]))
            start = stop
        return Block(samples, rest.error)


@dataclass(frozen=True)
class _Rest:
    """Of each sample its length, name and source, and what ends the block."""

    samples: list[tuple[int, str, str] | None]
    error: Exception | None


@dataclass(frozen=True)
class Draws:
    """The endless draws of source `name` for one process: every count-th of its epochs, one after the other."""

    name: str
    source: DataSource
    seed: int
    shuffle: bool
    shard: tuple[int, int]

    def documents(self, places: Sequence[int]) -> Sequence[Document]:
        """The documents of these draws, by their places."""
        return read_many(self.source, [self._index(place) for place in places])

    def _index(self, place: int) -> int:
        process, count = self.shard
        epoch, at = divmod(place * count + process, len(self.source))
        return self._shuffled(epoch, at) if self.shuffle else at

    def _shuffled(self, epoch: int, at: int) -> int:
        seed, count = (self._seed + epoch) % 2**32, len(self.source)
        if self._windows is not None:
            return self._windows(at, seed)
        if count <= LISTED:
            return int(_order(count, seed)[at])
        return index_shuffle(at, max_index=count - 1, seed=seed, rounds=4)

    @cached_property
    def _windows(self) -> WindowOrder | None:
        """The order for a source that reads a window of documents at a time."""
        return order_of(self.source)

    @cached_property
    def _seed(self) -> int:
        """By name, so that adding a source leaves the order of the others alone."""
        return int(np.random.SeedSequence([self.seed, *self.name.encode()]).generate_state(1)[0])


@dataclass(frozen=True)
class Blocks:
    """`blocks[b]` holds the `size` draws from place `first + b * size` on. Endless.

    - `apart`: gives each block as `Block.apart` does, for worker processes;
    - `some`: (first, step) of the blocks that are here: `blocks[b]` is then block first + b * step.
    """

    draws: Draws
    render: Render
    first: int
    size: int
    apart: bool = False
    some: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: SupportsInt) -> Block | dict[str, Any]:
        first, step = self.some
        block = self._block(first + int(index) * step)
        return block.apart() if self.apart else block

    def _block(self, index: int) -> Block:
        start = self.first + index * self.size
        places = range(start, start + self.size)
        try:
            return Block(self._rendered(self.draws.documents(places)))
        except Exception:  # it belongs to one draw, and those before it are good
            return self._one_by_one(places)

    def _one_by_one(self, places: range) -> Block:
        samples: list[Sample | None] = []
        for place in places:
            try:
                samples += self._rendered(self.draws.documents([place]))
            except Exception as error:
                error.add_note(f"It came from source {self.draws.name!r}.")
                return Block(samples, error)
        return Block(samples)

    def _rendered(self, documents: Sequence[Document]) -> list[Sample | None]:
        name = self.draws.name
        if isinstance(self.render, RendersMany):
            return self.render.many(documents, name)
        samples = map(self.render, documents)
        return [None if s is None else Sample(s.tokens, s.loss, s.name, name) for s in samples]


@lru_cache(maxsize=64)
def _order(count: int, seed: int) -> np.ndarray:
    """A permutation of `count` that no version of NumPy changes, as its generators may: random keys, sorted."""
    keys = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    return np.argsort(keys, kind="stable").astype(np.uint16)
