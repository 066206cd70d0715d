"""The source over shards: windows of frames as documents, any at once; and the check of shards for `lwm validate`.

Owns which window a number means. The format is `shards`', reading a record and judging it `records`'.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lwm_core.data import Document, Span
from lwm_core.data.problems import BadRecord, check_on_error
from lwm_core.data.records import Records
from lwm_core.data.scan import Scanned
from lwm_core.data.wording import SYSTEM, pair_spans
from lwm_core.vision.base import AbstractVisionTokenizer
from lwm_core.vision.captions import caption_for
from lwm_core.vision.documents import chat_spans
from lwm_core.vision.tokens import frames_to_ids
from lwm_ingest.ingest import Options, ingest
from lwm_ingest.passport import differences, passport_of
from lwm_ingest.records import Groups, frames_in, scanned
from lwm_ingest.shards import Entry, header_in, index_in


class _Sizes(NamedTuple):
    codebook_size: int
    codes_per_frame: int


@dataclass(frozen=True, eq=False)
class Shards:
    """Documents from what `lwm ingest` has written.

    - `path`: the folder of shards; - `vision`: the tokenizer (in a recipe the pipeline's own), whose passport must
      be that of the shards; None checks nothing;
    - `frames`: of a window; None takes each record whole. A record with fewer frames, as a picture, is one document;
    - `stride`: frames from one window to the next (by default no overlap); what does not fill a window is left;
    - `form`, `order`, `seed`, `system`: as in the source `clip`;
    - `hold`: row groups that stay decoded, half of which are shuffled together.
    """

    path: Path
    vision: AbstractVisionTokenizer | None = None
    frames: int | None = None
    stride: int | None = None
    form: Literal["pair", "chat", "vision"] = "pair"
    order: Literal["swap", "text-first", "vision-first"] = "swap"
    seed: int = 0
    system: str = SYSTEM
    hold: int = 16

    def __post_init__(self):
        if any(value is not None and value < 1 for value in (self.frames, self.stride, self.hold)):
            raise ValueError(f"frames={self.frames}, stride={self.stride}, hold={self.hold}: give at least 1.")
        if self.stride is not None and self.frames is None:
            raise ValueError(f"stride={self.stride} without frames: give the frames of a window too.")
        if self.form not in ("pair", "chat", "vision") or self.order not in ("swap", "text-first", "vision-first"):
            raise ValueError(
                f"form={self.form!r}, order={self.order!r}: give pair, chat or vision, and swap, text-first or "
                "vision-first."
            )
        if not Path(self.path).is_dir():
            raise FileNotFoundError(f"No folder {str(self.path)!r} (seen from {Path.cwd()}): `lwm ingest` writes one.")
        if not len(self):
            raise ValueError(f"{self.path} holds no record: ingest a folder with pictures or videos.")
        if self.vision is not None and (told := differences(self.header["passport"], passport_of(self.vision))):
            raise ValueError(
                f"{self.path} was written by another vision tokenizer, so its codes mean other pictures: {told}. "
                "Ingest again with this tokenizer, or build the recipe with that one."
            )

    @staticmethod
    def ingest(
        folder: Path,
        out: Path,
        tokenizer: AbstractVisionTokenizer,
        options: Mapping[str, Any],
        **how: Any,
    ) -> dict[str, Any]:
        """Writes shards: `lwm_ingest.ingest.ingest`, which says what `how` may be; `options` as in its `Options`."""
        check_on_error(how.get("on_error", "fail"))
        return ingest(folder, out, tokenizer, Options(**options), **how)

    @staticmethod
    def scan(path: str, records: Records, longest: int) -> Iterator[Scanned]:
        """Every record of a folder of shards or of one shard, good or bad, and what is wrong with the files."""
        yield from scanned(Path(path), records)

    @staticmethod
    def about(path: str) -> dict[str, Any]:
        """What the header says, for people."""
        place = Path(path)
        return index_in(place)["header"] if place.is_dir() else header_in(place)

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The header that all the shards have."""
        return self._index["header"]

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        hashes = [shard["sha256"] for shard in self._index["shards"]]
        return [hashes, self.frames, self.stride, self.form, self.order, self.seed, self.system]

    @property
    def windows(self) -> np.ndarray:
        """Documents of one row group are read together (see `lwm_core.data.order`)."""
        return self._starts[self._records[1]]

    @property
    def together(self) -> int:
        return max(1, self.hold // 2)

    @property
    def in_order(self) -> bool:
        return False

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Document:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"Document {index} of {count}: they count from 0 to {count - 1}.")
        index = int(index) % count
        record = int(np.searchsorted(self._starts, index, "right")) - 1
        groups = self._records[1]
        group = bisect_right(groups, record) - 1
        entry = self._groups.entry(group, record - groups[group])
        first = (index - int(self._starts[record])) * self._step
        return self._document(entry, first, index)

    def __getstate__(self) -> dict[str, Any]:
        # Decoded groups and their lock stay here, and so does the tokenizer, which holds device arrays.
        kept = {key: value for key, value in self.__dict__.items() if key != "_groups"}
        return {**kept, "vision": None}

    def _document(self, entry: Entry, first: int, index: int) -> Document:
        stop_frame = len(entry.codes) if self.frames is None else min(len(entry.codes), first + self.frames)
        seconds = entry.seconds[first:stop_frame]
        start, stop = float(seconds[0]), self._until(entry, stop_frame)
        whole = stop_frame - first == len(entry.codes)
        caption = entry.text if whole else caption_for(entry.cues, start, stop)
        if self.form == "vision":
            caption = ""
        text_first = self._text_first(index)
        ids = frames_to_ids(entry.codes[first:stop_frame], self._sizes)
        meta = {
            "file": entry.name,
            "seconds": tuple(seconds.tolist()),
            "stretch": (start, stop),
            "caption": caption,
            "text_first": text_first,
            "more": entry.meta,
        }
        name = entry.name if entry.kind == "image" else f"{entry.name}@{start:.2f}s"
        return Document(self._spans(caption, ids, stop_frame - first, text_first), name, meta)

    def _until(self, entry: Entry, stop: int) -> float:
        """When the frame after the last one is shown, or would be."""
        if stop < len(entry.seconds):
            return float(entry.seconds[stop])
        steps = np.diff(entry.seconds)
        return float(entry.seconds[-1] + (np.median(steps) if len(steps) else 0.0))

    def _spans(self, caption: str, ids: np.ndarray, frames: int, text_first: bool) -> tuple[Span, ...]:
        if self.form == "chat":
            return chat_spans(caption, ids, frames=frames, text_first=text_first, system=self.system)
        return pair_spans(caption, ids, text_first=text_first)

    def _text_first(self, index: int) -> bool:
        if self.order == "swap":
            return bool(np.random.default_rng([self.seed, index]).integers(2))
        return self.order == "text-first"

    @property
    def _step(self) -> int:
        return self.stride or self.frames or 1

    @property
    def _sizes(self) -> _Sizes:
        rows, columns = self.header["grid"]
        return _Sizes(self.header["codebook"], rows * columns)

    @cached_property
    def _index(self) -> Mapping[str, Any]:
        return index_in(Path(self.path))

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        files = tuple(Path(self.path) / shard["file"] for shard in self._index["shards"])
        for file in files:
            if not file.is_file():
                raise BadRecord("", "is missing", "run `lwm ingest` again", str(file))
            if header_in(file) != self.header:
                raise BadRecord("", f"has another header than the index of {self.path}", "ingest again", str(file))
        return files

    @cached_property
    def _records(self) -> tuple[np.ndarray, list[int], list[tuple[int, int]]]:
        """Frames of each record; the record each row group begins at, and the end; file and number of each group."""
        return frames_in(self._files)

    @cached_property
    def _starts(self) -> np.ndarray:
        """The number of documents before each record, and of all."""
        frames = self._records[0]
        if self.frames is None:
            return np.arange(len(frames) + 1, dtype=np.int64)
        each = np.maximum(1, (frames - self.frames) // self._step + 1)
        return np.cumsum([0, *each]).astype(np.int64)

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self._files, self._records[2], self.hold)
