"""A Hugging Face dataset as documents: a folder that `save_to_disk` wrote, or one that `load_dataset` fetches.

Owns opening it and its rows. Its Arrow files are mapped, so any row costs as much as any other; nothing is copied.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from lwm_core.data import BadRecord, Chat, Document, Field, LeftOut, Records
from lwm_core.data.kept import Kept, fault_of, kept_of
from lwm_core.data.problems import OnError, check_on_error, place_of
from lwm_core.data.records import Order
from lwm_core.data.scan import Scanned
from lwm_core.text import TextTokenizer
from lwm_sources.rows import columns_of, record_at


@dataclass(frozen=True)
class HuggingFace:
    """Documents from the rows of a dataset.

    - `path`: a folder that `save_to_disk` wrote; or `name` and `config` of one for `load_dataset`, which keeps it in
      Hugging Face's own cache; `split`: which of its splits, where there are several;
    - `fields`, `template`, `chat`, `order`, `seed`, `codebook`, `tokenizer`: what a row means, as in `Records`;
    - `on_error`, `cache`: as in `Jsonl`.
    """

    path: Path | None = None
    name: str = ""
    config: str | None = None
    split: str = ""
    fields: tuple[Field | str, ...] = ()
    template: str = ""
    chat: Chat = Chat()
    order: Order = "swap"
    seed: int = 0
    codebook: int | None = None
    tokenizer: TextTokenizer | None = None
    on_error: OnError = "fail"
    cache: Path | None = None

    def __post_init__(self):
        check_on_error(self.on_error)
        check_origin(self.path, self.name)
        if not len(self):
            raise ValueError(f"No record in {self._called}: {self.left_out if self.left_out.count else 'it is empty'}.")

    @staticmethod
    def scan(path: str, records: Records, longest: int) -> Iterator[Scanned]:
        """Every row of a folder in turn, good or bad, split by split."""
        for called, table in _splits(path):
            try:
                table = table.select_columns(columns_of(table.column_names, records)).with_format("arrow")
            except BadRecord as fault:
                yield Scanned(fault.at(called, 0))
                continue
            for row in range(len(table)):
                yield _scanned(table[row], called, row, records)

    @property
    def left_out(self) -> LeftOut:
        """What `on_error = "skip"` left out."""
        return self._kept.report

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        return [self._table._fingerprint, self._records.stamp, self.on_error]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Document:
        return self._document(self._kept[index])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_table"}  # opened again there

    @property
    def _called(self) -> str:
        return str(self.path or self.name) + (f"[{self.split}]" if self.split else "")

    @cached_property
    def _records(self) -> Records:
        return Records(**{f.name: getattr(self, f.name) for f in fields(Records)})

    @cached_property
    def _table(self) -> Any:
        if self.path is not None:
            table = from_disk(self.path, self.split)
        else:
            table = library().load_dataset(self.name, self.config, split=self.split or None)
            table = chosen_split(table, self.split, self._called)
        try:
            columns = columns_of(table.column_names, self._records)
        except BadRecord as fault:
            raise fault.at(self._called, 0) from None
        return table.select_columns(columns).with_format("arrow")

    @cached_property
    def _kept(self) -> Kept:
        total = len(self._table)
        if self.on_error == "fail":
            return Kept(total)
        stamp = self.stamp if self.cache is not None else None
        return kept_of(total, self._faults, (), stamp, self.cache, self._called)

    def _faults(self, block: range) -> list[BadRecord | None]:
        return [fault_of(self._document, record) for record in block]

    def _document(self, row: int) -> Document:
        try:
            place = place_of(self._called, row + 1, "row")
            return self._records.document(record_at(self._table[row], 0), place, (row,), str(self.path or ""))
        except BadRecord as fault:
            raise fault.at(self._called, row + 1, "row") from fault.__cause__


def check_origin(path: Path | None, name: str) -> None:
    if (path is None) == (not name):
        raise ValueError(f"path={path!r}, name={name!r}: give one: a folder on disk, or the name of a dataset.")


def library() -> Any:
    """The package `datasets`."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError("Hugging Face datasets need `datasets`: pip install 'lwm-jax[data]'.") from error
    return datasets


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars."""
    from datasets.utils import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    before = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if before and os.environ.get("HF_DATASETS_DISABLE_PROGRESS_BARS") is None:
            enable_progress_bars()


def from_disk(path: Path | str, split: str) -> Any:
    """The dataset in a folder."""
    if not Path(path).is_dir():
        raise FileNotFoundError(f"No folder {str(path)!r} (seen from {Path.cwd()}): check `path`.")
    datasets = library()
    try:
        with quiet():
            return chosen_split(datasets.load_from_disk(str(path)), split, str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecord):
            raise
        raise BadRecord("", f"is no dataset of save_to_disk ({error})", "write it again", str(path)) from error


def chosen_split(table: Any, split: str, called: str) -> Any:
    """One split of a dataset that has several."""
    if not isinstance(table, dict):
        return table
    if split not in table:
        raise BadRecord("", f"has the splits {', '.join(table)}", f"give one as `split`, not {split!r}", called)
    return table[split]


def _splits(path: str) -> list[tuple[str, Any]]:
    with quiet():
        table = library().load_from_disk(path)
    return [(f"{path}[{name}]", part) for name, part in table.items()] if isinstance(table, dict) else [(path, table)]


def _scanned(table: Any, called: str, row: int, records: Records) -> Scanned:
    try:
        record = record_at(table, 0)
        document = records.document(record, place_of(called, row + 1, "row"), folder=called)
        return Scanned(None, records.kind(record), document, tuple(n for n, v in record.items() if v is not None))
    except BadRecord as fault:
        return Scanned(fault.at(called, row + 1, "row"))
