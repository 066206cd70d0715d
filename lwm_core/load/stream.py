"""The one stream: sources, mixed and shuffled, rendered and packed into steps of rows, with exact state.

    with Stream(sources, mixture, render, packer, rows=8, seed=0) as stream:
        state = stream.init()
        state, rows = stream.next(state)      # list of 8 Row; the state is JSON

Any state that `next` has returned, before or after a trip through JSON, in this process or another, gives the
same following steps: draws are addressed by number, and the packer's remainder travels in the state. The
number of threads and worker processes changes the speed only. Grain reads, shuffles and prefetches; because
Grain imports JAX, only this folder imports it.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lwm_core.data import DataSource, Packer, Row, Sample
from lwm_core.data.apart import Grouped
from lwm_core.data.mixture import MIXTURE_BY, Mixture
from lwm_core.load.blocks import Draws, Render
from lwm_core.load.lane import Lane, Rules
from lwm_core.load.prefetch import Ahead
from lwm_core.load.reader import Reader, Reading
from lwm_core.load.shared import Exchange


ALL = "all"  # the one lane of a packer that keeps nothing apart
BLOCK = range(256, 131_072)  # tokens that are read at a time: what two steps need of a source, within these


@dataclass(eq=False)
class Stream:
    """Endless steps of `rows` rows.

    - `sources`, `mixture`: name → documents, name → share; shares sum to 1;
    - `render`: document → sample, or None to leave it out, which costs its source nothing (counted in the state
      under "skipped"). `Renderer`, and whatever else has its `many`, is given a block of documents at a time;
    - `packer`: samples → rows. One that keeps groups apart (`Grouped`) has a lane of rows for each group, and the
      lane furthest behind its share gives the next row;
    - `rows`: rows of a step, for this process;
    - `seed`: of the shuffle; every source goes on into the next epoch in a new order. `shuffle=False` keeps
      the order of the source;
    - `shard`: (index, count) of this process; together the processes see every document once an epoch, and each
      keeps the shares;
    - `mixture_by`: what shares are shares of, "tokens" or "documents". By tokens they are met, however long documents
      are, to within a turn and what the packer holds back, and to within a row by a packer that keeps every source
      apart;
    - `turn`: how many tokens a document that is longer gives at a time before the other sources of its lane have
      their turn (by tokens, and where the packer cuts): whole rows, and at least one;
    - `threads`, `ahead`: threads that read and render, and how many blocks they work ahead; `workers`: processes
      that do so instead (they need picklable sources and render). Both are divided over the sources by share;
    - `arrange`: the rows of a step in the order in which ranks should have them;
    - `share`: opens an exchange with other processes, which stream the same rows: each reads, renders and tokenises its
      share of the blocks for all. The rows and the state are those of one process alone.
    """

    sources: Mapping[str, DataSource]
    mixture: Mapping[str, float]
    render: Render
    packer: Packer
    rows: int
    seed: int = 0
    shuffle: bool = True
    shard: tuple[int, int] = (0, 1)
    mixture_by: Literal["tokens", "documents"] = "tokens"
    turn: int = 0
    threads: int = 2
    ahead: int = 4
    workers: int = 0
    arrange: Callable[[Sequence[Row]], Sequence[Row]] = list
    share: Callable[[], Exchange] | None = None
    _exchange: Exchange | None = field(default=None, init=False, repr=False)
    _live: tuple[Any, Ahead] | None = field(default=None, init=False, repr=False)

    def __post_init__(self):
        self._mixture = Mixture.of(self.mixture)
        missing = sorted(set(self.mixture) - set(self.sources))
        if missing:
            raise ValueError(f"The mixture names {missing[0]!r}; the sources are {', '.join(self.sources)}.")
        empty = [name for name in self.mixture if not len(self.sources[name])]
        if empty:
            raise ValueError(f"Source {empty[0]!r} holds no document: give it one, or leave it out.")
        if self.share is not None and self.shard != (0, 1):
            raise ValueError(f"shard={self.shard} and share: a stream is one part, or shared; give one of them.")
        if self.rows < 1 or not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"rows={self.rows}, shard={self.shard}: give rows >= 1 and 0 <= index < count.")
        if self.mixture_by not in MIXTURE_BY:
            raise ValueError(f"mixture_by={self.mixture_by!r}: give {' or '.join(MIXTURE_BY)}.")
        self._lanes  # noqa: B018  (a packer that cannot work says so now)

    def init(self) -> dict[str, Any]:
        """The state before the first step, as JSON data: by lane, what `Rules.init` says, and tokens of its rows."""
        lanes = {name: rules.init() for name, rules in self._lanes.items()}
        return {"of": self._identity(), "lanes": lanes, "tokens": dict.fromkeys(lanes, 0)}

    def next(self, state: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
        """The step that follows `state`, and the state after it. Raises what a source or `render` raises."""
        if self._live is None or self._live[0] is not state:
            self.close()
            self._check(state)
            self._exchange = None if self.share is None else self.share()
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
        if self._exchange is not None:
            self._exchange.close()  # first, since a thread may wait for another process
            self._exchange = None
        if self._live is not None:
            self._live[1].close()
            self._live = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    @cached_property
    def _lanes(self) -> dict[str, Rules]:
        return {name: self._rules(name, members) for name, members in self._members().items()}

    def _members(self) -> dict[str, list[str]]:
        """The sources of each lane."""
        lanes: dict[str, list[str]] = {}
        for source in self.mixture:
            lane = self.packer.group_of(source) if isinstance(self.packer, Grouped) else ALL
            lanes.setdefault(lane, []).append(source)
        return lanes

    def _rules(self, lane: str, members: list[str]) -> Rules:
        packer = self.packer.packer_of(lane) if isinstance(self.packer, Grouped) else self.packer
        turn = None
        if self.mixture_by == "tokens" and len(members) > 1 and _cuts(packer):
            turn = max(1, self.turn // packer.length) * packer.length
        return Rules(self._mixture.among(members), packer, self.mixture_by, turn)

    def _identity(self) -> dict[str, Any]:
        return {
            "length": self.packer.length,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shard": list(self.shard),
            "mixture": dict(self.mixture),
            "mixture_by": self.mixture_by,
            "turns": {name: rules.turn for name, rules in self._lanes.items()},
            "lanes": self._members(),
            "documents": {name: len(self.sources[name]) for name in self.mixture},
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
        kept, tokens = state["lanes"], dict(state["tokens"])
        readers = {
            name: self._reader(name, lane["sources"][name]["drawn"])
            for lane in kept.values()
            for name in lane["sources"]
        }
        lanes = {name: Lane(rules, readers, kept[name]) for name, rules in self._lanes.items()}
        try:
            while True:
                step = [self._row(lanes, tokens) for _ in range(self.rows)]
                after = {name: lane.state() for name, lane in lanes.items()}
                yield {"of": state["of"], "lanes": after, "tokens": dict(tokens)}, list(self.arrange(step))
        finally:
            for reader in readers.values():
                reader.close()

    def _row(self, lanes: Mapping[str, Lane], tokens: dict[str, int]) -> Row:
        """The next row of the lane that is furthest behind."""
        served = tokens.values() if self.mixture_by == "tokens" else [lane.served for lane in lanes.values()]
        name = list(lanes)[self._shares.furthest_behind(list(served))]
        row = next(lanes[name])
        tokens[name] += int(np.count_nonzero(row.segment))
        return row

    @cached_property
    def _shares(self) -> Mixture:
        """Of the lanes."""
        weights = {name: sum(rules.mixture.weights.values()) for name, rules in self._lanes.items()}
        return Mixture(weights)

    def _reader(self, name: str, place: int) -> Reader:
        part = self.mixture[name]
        threads, workers = (max(1, round(part * count)) if count else 0 for count in (self.threads, self.workers))
        tokens = max(BLOCK.start, int(part * min(2 * self.rows * self.packer.length, BLOCK.stop)))
        if self._exchange is not None:
            tokens = max(BLOCK.start, tokens // self._exchange.count)
        draws = Draws(name, self.sources[name], self.seed, self.shuffle, self.shard)
        return Reader(draws, self.render, place, Reading(threads, self.ahead, workers, tokens), self._exchange)


def _cuts(packer: Packer) -> bool:
    """Whether it cuts a sample longer than a row, asked of the packer itself: the contract has no field for it."""
    size = packer.length + 1
    try:
        packer.push(packer.init(), Sample(np.ones(size, np.int32), np.ones(size, np.float32)))
    except ValueError:
        return False
    return True
