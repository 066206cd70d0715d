"""A Hugging Face dataset as a stream: nothing is fetched before it is needed, and nothing is kept on disk.

Owns opening the stream and winding it to a place, by the library's own `state_dict`. Giving its documents numbers is
`lwm_core.data.replayed`'s, and what a record means `lwm_core.data.records`'s.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data import BadRecord, Chat, Document, Field, LeftOut, Records
from lwm_core.data.json_lines import check_characters
from lwm_core.data.problems import OnError, check_on_error, place_of
from lwm_core.data.records import Order
from lwm_core.data.replayed import Replayed, places_file
from lwm_core.text import TextTokenizer
from lwm_sources.dataset import check_origin, from_disk, library


@dataclass(frozen=True)
class HuggingFaceStream:
    """The first `documents` good documents of a streamed dataset, as one epoch.

    - `documents`: how many make an epoch; a stream cannot say how many it has, and one with fewer is an error;
    - `name`, `config`, `split`, `data_files`: as for `load_dataset` with streaming, such as name = "json" and
      data_files = ["a.jsonl"]; or `path`: a folder that `save_to_disk` wrote;
    - `fields`, `template`, `chat`, `order`, `seed`, `codebook`, `tokenizer`: what a record means, as in `Records`;
    - `on_error`: "fail" at a bad record, or "skip" it; what was skipped so far is in `left_out`;
    - `window`, `hold`: documents read at a time, and how many such windows are held, half of which are
      shuffled together;
    - `cache`: a folder for places to go on from. With it a new process goes on where the last one stood; without it
      it reads the stream again from its beginning up to there.

    Every process, and every worker process, reads the whole stream and uses its share: prefer threads to workers.
    """

    documents: int
    name: str = ""
    path: Path | None = None
    config: str | None = None
    split: str = "train"
    data_files: tuple[Path | str, ...] = ()
    fields: tuple[Field | str, ...] = ()
    template: str = ""
    chat: Chat = Chat()
    order: Order = "swap"
    seed: int = 0
    codebook: int | None = None
    tokenizer: TextTokenizer | None = None
    on_error: OnError = "fail"
    window: int = 1024
    hold: int = 4
    cache: Path | None = None

    def __post_init__(self):
        check_on_error(self.on_error)
        check_origin(self.path, self.name)
        for option in ("documents", "window", "hold"):
            if getattr(self, option) < 1:
                raise ValueError(f"{option}={getattr(self, option)}: give at least 1.")
        self._records  # noqa: B018  (a bad option is an error now)

    @property
    def left_out(self) -> LeftOut:
        """What `on_error = "skip"` left out, as far as this process has read."""
        return self._replayed.left_out

    @property
    def windows(self) -> np.ndarray:
        """See `lwm_core.data.order`."""
        return np.asarray([*range(0, self.documents, self.window), self.documents], np.int64)

    @property
    def together(self) -> int:
        return max(1, self.hold // 2)  # threads read ahead: of the next windows while these are still needed

    @property
    def in_order(self) -> bool:
        return True

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < self.documents:
            raise IndexError(f"Document {index} of {self.documents}: they count from 0 to {self.documents - 1}.")
        document = self._replayed[index]
        if document is None:
            raise ValueError(
                f"{self._called} ended before document {index + 1} of {self.documents}: give `documents` as many as "
                "it has."
            )
        return document

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_replayed"}

    @property
    def _called(self) -> str:
        return str(self.path or self.name)

    @cached_property
    def _records(self) -> Records:
        return Records(**{f.name: getattr(self, f.name) for f in fields(Records)})

    @cached_property
    def _replayed(self) -> Replayed:
        origin = [str(self.path), self.name, self.config, self.split, list(map(str, self.data_files))]
        stamp = [origin, self._records.stamp, self.on_error, self.window]
        return Replayed(self._tape, self.window, self.hold, self.on_error == "skip", places_file(self.cache, stamp))

    def _tape(self, place: Any) -> "_Tape":
        if self.path is not None:
            stream = from_disk(self.path, self.split).to_iterable_dataset()
        else:
            files = {"data_files": list(map(str, self.data_files))} if self.data_files else {}
            stream = library().load_dataset(self.name, self.config, split=self.split, streaming=True, **files)
        return _Tape(stream, self._records, self._called, place)


class _Tape:
    """One pass over the stream from a place: the library's state, and the number of the record it stands before."""

    def __init__(self, stream: Any, records: Records, called: str, place: Any):
        self._stream, self._records, self._called, self._number = stream, records, called, 0
        if place is not None:
            self._number = place["number"]
            stream.load_state_dict(place["state"])
        self._rows: Iterator[Any] = iter(stream)

    def __next__(self) -> Document | BadRecord:
        record = next(self._rows)
        self._number += 1
        try:
            check_characters(record, "")
            place = place_of(self._called, self._number, "record")
            return self._records.document(record, place, (self._number - 1,))
        except BadRecord as fault:
            return fault.at(self._called, self._number, "record")

    def place(self) -> Any:
        return json.loads(json.dumps({"number": self._number, "state": self._stream.state_dict()}))
