"""Every draw of a stream by its number: which document of which source, in the order of its epoch, rendered.

Owns that addressing. Reading ahead, packing and state are `stream`'s. One object rather than a chain of Grain
datasets, because each link of such a chain costs as much as reading a short document.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import SupportsInt

import numpy as np
from grain.experimental import index_shuffle

from lwm_core.data import DataSource, Document, Sample
from lwm_core.data.mixture import Mixture


@dataclass(frozen=True)
class Draws:
    """`draws[k]` is (source name, sample, or None for a document that `render` leaves out). Endless.

    Every process follows the mixture's pattern, and takes every count-th draw of each source.
    """

    sources: Mapping[str, DataSource]
    mixture: Mixture
    render: Callable[[Document], Sample | None]
    seed: int
    shuffle: bool
    shard: tuple[int, int]

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: SupportsInt) -> tuple[str, Sample | None]:
        name, place = self.mixture[int(index)]
        process, count = self.shard
        epoch, at = divmod(place * count + process, len(self.sources[name]))
        return name, self.render(self.sources[name][self._shuffled(name, epoch, at)])

    def _shuffled(self, name: str, epoch: int, at: int) -> int:
        if not self.shuffle:
            return at
        seed = (self._seeds[name] + epoch) % 2**32
        return index_shuffle(at, max_index=len(self.sources[name]) - 1, seed=seed, rounds=4)

    @cached_property
    def _seeds(self) -> dict[str, int]:
        """By name, so that adding a source leaves the order of the others alone."""
        return {
            name: int(np.random.SeedSequence([self.seed, *name.encode()]).generate_state(1)[0])
            for name in self.mixture.shares
        }
