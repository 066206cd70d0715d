"""From a folder of pictures and videos to a folder of shards: the run itself.

Owns the order of work and what is counted. Killed at any moment and started again, it gives the same bytes: records
are made in one order from codes that are kept as soon as they are encoded.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from lwm_core.data.files import cache_folder
from lwm_core.vision import AbstractVisionTokenizer
from lwm_ingest.cluster import joined
from lwm_ingest.find import Found, Item, find
from lwm_ingest.manifest import listed
from lwm_ingest.passport import passport_of
from lwm_ingest.problems import Fault, Ledger, Unreadable
from lwm_ingest.reading import Choice, expected, frames_of
from lwm_ingest.shards import FORMAT, VERSION, Entry, arrow
from lwm_ingest.spread import Done, Tell, spread
from lwm_ingest.store import CHUNK, Store, content_of, key_of
from lwm_ingest.write import claimed


WAITING = 1024  # files that wait for a batch of pictures to fill


@dataclass(frozen=True)
class Told:
    """How far it is: frames done, of about how many, of which encoded just now; and in which file."""

    done: int
    total: int
    encoded: int
    file: str


@dataclass(frozen=True)
class Options:
    """What decides the bytes of the shards, besides files and tokenizer; `longest`: frames of one record."""

    fps: float | None = 1.0
    frames: int | None = None
    size: int | None = None
    longest: int = 4096

    def __post_init__(self):
        if self.longest < 1:
            raise ValueError(f"longest={self.longest}: give the frames that one record may have, at least 1.")

    def choice(self, tokenizer: AbstractVisionTokenizer) -> Choice:
        """The frames that this tokenizer takes; `ValueError` where the size asked for is another."""
        rows, columns = tokenizer.frame_size
        if rows != columns or self.size not in (None, rows):
            raise ValueError(
                f"size={self.size}: this tokenizer takes frames of {rows}×{columns} pixels, and frames are cut "
                "square: leave the size out, or give the tokenizer another frame (frame=...)."
            )
        return Choice(rows, self.fps, self.frames)


def ingest(
    folder: Path,
    out: Path,
    tokenizer: AbstractVisionTokenizer,
    options: Options,
    *,
    on_error: Literal["skip", "fail"] = "fail",
    manifest: Path | None = None,
    cache: Path | None = None,
    watch: Callable[[Told], None] = lambda told: None,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Writes the shards and gives the counts.

    - `engine`: "ray" has `workers` of the Ray cluster at `address` encode (none given: of this machine; see `cluster`
      and `spread`). The shards are the same. All machines see the files and the cache by the same paths.

    Raises `ValueError` for options that do not fit, for a folder without anything to ingest, and for the first
    fault of a file under `on_error="fail"`.
    """
    arrow()
    if engine not in ("local", "ray"):
        raise ValueError(f"engine={engine!r}: give local (this process) or ray (a cluster).")
    if engine == "local" and (address is not None or workers is not None):
        raise ValueError(f"address={address!r}, workers={workers}: those are of a cluster: add engine=ray.")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: give at least 1.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give the one that holds pictures and videos.")
    run = _Run(tokenizer, options, Ledger(on_error), Store(cache_folder(cache) / "ingest"), watch)
    found = find(folder, run.ledger) if manifest is None else listed(manifest, folder, run.ledger)
    if not found.items and not run.ledger.faults:
        raise ValueError(f"No picture or video to ingest in {folder}: give a folder that holds some.")
    return run.over(found, out, None if engine == "local" else Cluster(address, workers))


@dataclass(frozen=True)
class Cluster:
    """Where to encode: the address of a Ray cluster, None for one of this machine, and how many of its workers."""

    address: str | None
    workers: int | None


@dataclass(frozen=True)
class _Part:
    """What a worker of a cluster needs to encode some files into the cache, as a run does."""

    tokenizer: AbstractVisionTokenizer
    options: Options
    store: Store

    def __call__(self, items: Sequence[Item], tell: Tell) -> Done:
        run = _Run(self.tokenizer, self.options, Ledger("skip"), self.store, lambda told: None, tell=tell)
        for _ in run.encoded_items(items):
            pass
        return Done(tuple(run.ledger.faults), run.encoded)


@dataclass
class _Run:
    """One run: its parts, and what it has counted."""

    tokenizer: AbstractVisionTokenizer
    options: Options
    ledger: Ledger
    store: Store
    watch: Callable[[Told], None]
    done: int = 0
    total: int = 0
    encoded: int = 0
    tell: Tell | None = None
    spread: dict[str, Fault] | None = None  # what workers have found, once they have been over all files
    counts: dict[str, int] = field(default_factory=lambda: {"image": 0, "video": 0, "captioned": 0})

    def __post_init__(self):
        self.how = self.options.choice(self.tokenizer)
        self.passport = passport_of(self.tokenizer)

    @property
    def header(self) -> dict[str, Any]:
        codes = self.tokenizer.codes_per_frame
        side = math.isqrt(codes)
        return {
            "format": FORMAT,
            "version": VERSION,
            "passport": self.passport,
            "codebook": self.tokenizer.codebook_size,
            "grid": [side, side] if side * side == codes else [1, codes],
            "options": {**self.how.plain(), "crop": "centre", "longest": self.options.longest},
        }

    def over(self, found: Found, out: Path, cluster: Cluster | None) -> dict[str, Any]:
        began = time.monotonic()
        self.total = sum(expected(item, self.how) for item in found.items)
        with claimed(out, self.header) as writer:
            if cluster is not None:
                self._spread(found.items, cluster)
            for item, content, key in self.encoded_items(found.items):
                for entry in self._entries(item, content, key):
                    writer.add(entry)
                self._count(item)
            index = writer.finish()
        took = time.monotonic() - began
        return {
            "out": str(out),
            **{name: index[name] for name in ("records", "frames", "codes")},
            "shards": len(index["shards"]),
            "images": self.counts["image"],
            "videos": self.counts["video"],
            "captioned": self.counts["captioned"],
            "encoded": self.encoded,
            "cached": index["frames"] - self.encoded,
            "left_out": self.ledger.data(),
            "other": list(found.other),
            "seconds": round(took, 2),
            "frames_per_second": round(index["frames"] / max(took, 1e-9), 1),
        }

    def _count(self, item: Item) -> None:
        self.counts[item.kind] += 1
        self.counts["captioned"] += bool(item.cues)

    def _spread(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Has workers encode everything. What they find wrong is kept for its turn, or raised at once if fatal."""
        work = _Part(self.tokenizer, self.options, self.store.absolute())
        there = [replace(item, path=item.path.absolute()) for item in items]
        found: dict[str, Fault] = {}
        encoded = 0
        with joined(cluster.address, cluster.workers) as ray:
            for done in spread(ray, there, work, cluster.workers, lambda said: self._heard(*said)):
                encoded += done.encoded
                for fault in done.faults:
                    found[fault.file] = fault
                    if self.ledger.on_error == "fail":
                        self.ledger.add(fault.file, fault.kind, fault.problem)
        self.encoded, self.spread = encoded, found

    def encoded_items(self, items: Sequence[Item]) -> Iterator[tuple[Item, str, str]]:
        """Every item whose codes are in the store, in order; pictures are encoded several together."""
        waiting: list[tuple[Item, str, str]] = []
        pictures: dict[str, np.ndarray] = {}
        for item in items:
            if self.spread is not None and (fault := self.spread.get(item.name)):
                self.ledger.add(fault.file, fault.kind, fault.problem)
                continue
            try:
                content = _content(item)
                key = key_of(content, item.kind, self.how.plain(), self.passport)
                if self.store.frames(key) is None and self.spread is not None:
                    raise RuntimeError(
                        f"{item.name}: a worker has encoded it, but {self.store.folder} does not hold it: give --cache "
                        "a folder that all machines of the cluster share, and do not change files meanwhile."
                    )
                if self.store.frames(key) is None and key not in pictures:
                    if item.kind == "image":
                        pictures[key] = next(frames_of(item, self.how))[0]
                    else:
                        self._video(item, key)
                else:
                    self._tell(item, self.store.frames(key) or 1, 0)
            except Unreadable as fault:
                self.ledger.add(item.name, fault.kind, str(fault))
                continue
            waiting.append((item, content, key))
            if not pictures or len(pictures) >= CHUNK or len(waiting) >= WAITING:
                yield from self._flushed(waiting, pictures)
        yield from self._flushed(waiting, pictures)

    def _flushed(self, waiting: list, pictures: dict[str, np.ndarray]) -> Iterator[tuple[Item, str, str]]:
        rows = self._codes(list(pictures.values())) if pictures else ()
        for (key, pixels), row in zip(pictures.items(), rows, strict=True):
            name = next(item for item, _, known in waiting if known == key)
            self.store.fill(key, [(pixels, 0.0)], lambda _, row=row: row[None], self._teller(name))
        ready = list(waiting)
        waiting.clear()
        pictures.clear()
        yield from ready

    def _video(self, item: Item, key: str) -> None:
        try:
            self.store.fill(key, frames_of(item, self.how), self._codes, self._teller(item))
        except Unreadable:
            self.store.drop(key)
            raise

    def _codes(self, pixels: list[np.ndarray]) -> np.ndarray:
        frames = jnp.asarray(np.stack(pixels).astype(np.float32) / 255)
        codes = np.asarray(self.tokenizer.encode(frames), np.int32)
        wanted, most = (len(pixels), self.tokenizer.codes_per_frame), self.tokenizer.codebook_size
        if codes.shape != wanted or codes.min() < 0 or codes.max() >= most:
            raise RuntimeError(
                f"The tokenizer gave codes {codes.shape} up to {codes.max()}, not {wanted} below {most}."
            )
        return codes

    def _teller(self, item: Item) -> Callable[[int, int], None]:
        return lambda kept, encoded: self._tell(item, kept, encoded)

    def _tell(self, item: Item, kept: int, encoded: int) -> None:
        if self.tell is not None:
            self.encoded += encoded
            self.tell(item.name, kept, encoded)
        elif self.spread is None:  # else workers have told of it
            self._heard(item.name, kept, encoded)

    def _heard(self, name: str, kept: int, encoded: int) -> None:
        self.done += kept + encoded
        self.encoded += encoded
        self.watch(Told(self.done, max(self.total, self.done), self.encoded, name))

    def _entries(self, item: Item, content: str, key: str) -> Iterator[Entry]:
        """The records of one file: one, or as many as its frames need, in memory of one."""
        meta = json.dumps(dict(item.meta), sort_keys=True)
        part, codes, seconds = 0, np.zeros((0, self.tokenizer.codes_per_frame), np.int32), np.zeros(0)
        for more, when in self.store.chunks(key):
            codes, seconds = np.concatenate([codes, more]), np.concatenate([seconds, when])
            while len(codes) > self.options.longest:
                cut = self.options.longest
                yield Entry(item.kind, item.name, content, part, codes[:cut], seconds[:cut], item.cues, meta)
                part, codes, seconds = part + 1, codes[cut:], seconds[cut:]
        yield Entry(item.kind, item.name, content, part, codes, seconds, item.cues, meta)


def _content(item: Item) -> str:
    try:
        return content_of(item.path)
    except OSError as error:
        raise Unreadable("not readable", f"cannot be read ({error.strerror or error}).") from error
