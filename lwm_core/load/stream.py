"""The one stream: sources, mixed and shuffled, rendered and packed into steps of rows, with exact state.

    with Stream(sources, mixture, render, packer, rows=8, seed=0) as stream:
        state = stream.init()
        state, rows = stream.next(state)      # list of 8 Row; the state is JSON

Any state that `next` has returned, before or after a trip through JSON, in this process or another, gives the
same following steps: draws are addressed by number, and the packer's remainder travels in the state. The
number of threads and worker processes changes the speed only. Grain reads, shuffles and prefetches; because
Grain imports JAX, only this folder imports it.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grain
from absl import flags

from lwm_core.data import DataSource, Document, Packer, Row, Sample
from lwm_core.data.mixture import Mixture
from lwm_core.load.draws import Draws
from lwm_core.load.prefetch import Ahead


@dataclass(eq=False)
class Stream:
    """Endless steps of `rows` rows.

    - `sources`, `mixture`: name → documents, name → share of the documents drawn; shares sum to 1;
    - `render`: document → sample, or None to leave it out (counted in the state under "skipped");
    - `packer`: samples → rows;
    - `rows`: rows of a step, for this process;
    - `seed`: of the shuffle; every source goes on into the next epoch in a new order. `shuffle=False` keeps
      the order of the source;
    - `shard`: (index, count) of this process; together the processes see every document once an epoch;
    - `threads`, `ahead`: threads that read and render, and how many samples and steps they work ahead;
    - `workers`: processes that read and render instead (they need picklable sources and render).
    """

    sources: Mapping[str, DataSource]
    mixture: Mapping[str, float]
    render: Callable[[Document], Sample | None]
    packer: Packer
    rows: int
    seed: int = 0
    shuffle: bool = True
    shard: tuple[int, int] = (0, 1)
    threads: int = 2
    ahead: int = 16
    workers: int = 0
    _live: tuple[Any, Ahead] | None = field(default=None, init=False, repr=False)

    def __post_init__(self):
        missing = sorted(set(self.mixture) - set(self.sources))
        if missing:
            raise ValueError(f"The mixture names {missing[0]!r}; the sources are {', '.join(self.sources)}.")
        empty = [name for name in self.mixture if not len(self.sources[name])]
        if empty:
            raise ValueError(f"Source {empty[0]!r} holds no document: give it one, or leave it out.")
        if self.rows < 1 or not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"rows={self.rows}, shard={self.shard}: give rows >= 1 and 0 <= index < count.")
        self._mixture = Mixture(dict(self.mixture))

    def init(self) -> dict[str, Any]:
        """The state before the first step, as JSON data."""
        packer = self.packer.init()
        return {"of": self._identity(), "drawn": 0, "emitted": 0, "skipped": {}, "packer": packer}

    def next(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """The step that follows `state`, and the state after it. Raises what a source or `render` raises."""
        if self._live is None or self._live[0] is not state:
            self.close()
            self._check(state)
            self._live = (state, Ahead(self._steps(state), 2 if self.ahead else 0))
        try:
            after, rows = next(self._live[1])
        except BaseException:
            self.close()
            raise
        self._live = (after, self._live[1])
        return after, rows

    def close(self) -> None:
        """Stops threads and processes; the stream can be used again."""
        if self._live is not None:
            self._live[1].close()
            self._live = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shard": list(self.shard),
            "mixture": dict(self.mixture),
            "documents": {name: len(self.sources[name]) for name in self.mixture},
            "length": self.packer.length,
        }

    def _check(self, state: dict[str, Any]) -> None:
        mine, its = self._identity(), state["of"]
        for key, value in mine.items():
            if its.get(key) != value:
                raise ValueError(
                    f"This state was saved by a stream with {key} = {its.get(key)}, this one has {value}: "
                    "continue with the same data and options, or start the stage anew."
                )

    def _steps(self, state: dict[str, Any]) -> Generator[tuple[dict[str, Any], list[Row]]]:
        packed, drawn, skipped = state["packer"], state["drawn"], state["skipped"]
        emitted, step = state["emitted"], []
        for name, sample in self._samples(drawn):
            before, (packed, rows) = (
                packed,
                (packed, []) if sample is None else self.packer.push(packed, sample),
            )
            if sample is None:
                skipped = {**skipped, name: skipped.get(name, 0) + 1}
            for index in range(emitted, len(rows)):
                step.append(rows[index])
                if len(step) == self.rows:
                    # Rows of this push that are still to come are made again: cheaper than keeping them.
                    whole = index + 1 == len(rows)
                    yield (
                        {
                            "of": state["of"],
                            "drawn": drawn + whole,
                            "emitted": 0 if whole else index + 1,
                            "skipped": skipped,
                            "packer": packed if whole else before,
                        },
                        step,
                    )
                    step = []
            drawn, emitted = drawn + 1, 0

    def _samples(self, drawn: int) -> Iterator[tuple[str, Sample | None]]:
        sources = {name: self.sources[name] for name in self.mixture}
        draws = Draws(sources, self._mixture, self.render, self.seed, self.shuffle, self.shard)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.ahead)
        samples = grain.MapDataset.source(draws)[drawn:].to_iter_dataset(options)
        if self.workers:
            flags.FLAGS.mark_as_parsed()  # Grain reads its flags, which a program without absl never parses
            processes = grain.MultiprocessingOptions(self.workers, per_worker_buffer_size=max(1, self.ahead))
            samples = samples.mp_prefetch(processes, worker_init_fn=_stay_off_devices)
        iterator = iter(samples)
        try:
            yield from iterator
        finally:
            iterator.close()


def _stay_off_devices(index: int, count: int) -> None:
    import jax  # here, since only a worker process needs it

    jax.config.update("jax_platforms", "cpu")
