"""The documents of another source whose length lies between bounds, as the paper's stages choose their books.

Owns the bounds and the order in which they are checked: bytes, then characters, then tokens, so that a document of
the wrong size is never tokenised. Which documents those are is found once, on first use.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.data.base import DataSource, Document
from lwm_core.data.kept import Kept, kept_of
from lwm_core.data.order import windows_within
from lwm_core.data.problems import BadRecord, LeavesOut, LeftOut
from lwm_core.text import TextTokenizer, encode_many


MEASURES = ("bytes", "chars", "tokens")
_PROBE = "The quick brown fox, in 1984, jumped: naïve café 字 👍"


@dataclass(frozen=True)
class Filtered:
    """Documents of `source` that are within every bound that is given; both ends belong to it.

    - `min_bytes`, `max_bytes`, `min_chars`, `max_chars`: of a document's text, in UTF-8 bytes or characters;
    - `min_tokens`, `max_tokens`: ids of the tokenizer and codes, without the markers that a renderer adds;
    - `tokenizer`: in a recipe the pipeline's own;
    - `cache`: a folder in which the answer is kept; without it every start measures anew.
    """

    source: DataSource
    min_tokens: int | None = None
    max_tokens: int | None = None
    min_chars: int | None = None
    max_chars: int | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    tokenizer: TextTokenizer | None = None
    cache: Path | None = None

    def __post_init__(self):
        given = [m for m in MEASURES if self._bounds(m) != (None, None)]
        if not given:
            raise ValueError("Filtered without a bound: give min_tokens or another of its bounds, or drop the filter.")
        for measure in given:
            low, high = self._bounds(measure)
            if (low or 0) < 0 or (high is not None and high < (low or 0)):
                raise ValueError(f"min_{measure}={low}, max_{measure}={high}: give 0 <= min <= max.")
        if "tokens" in given and self.tokenizer is None:
            raise ValueError("min_tokens and max_tokens need a `tokenizer`: give one, or bound bytes or chars.")
        if self.cache is not None and not hasattr(self.source, "stamp"):
            raise ValueError(
                f"cache={str(self.cache)!r}: a {type(self.source).__name__} cannot say when its data has changed (it "
                "has no `stamp`): leave `cache` out."
            )

    @property
    def left_out(self) -> LeftOut:
        """What the bounds leave out, after what the source itself does."""
        mine = self._kept.report
        if not isinstance(self.source, LeavesOut):
            return mine
        its = self.source.left_out
        kinds = {k: its.kinds.get(k, 0) + mine.kinds.get(k, 0) for k in (*its.kinds, *mine.kinds)}
        return LeftOut(its.count + mine.count, its.of or mine.of, (*its.first, *mine.first), kinds)

    @property
    def stamp(self) -> Any:
        """JSON that changes when the documents may."""
        return [getattr(self.source, "stamp"), {m: self._bounds(m) for m in MEASURES}, _stamp_of(self.tokenizer)]  # noqa: B009

    @property
    def together(self) -> int:
        return getattr(self.source, "together", 1)

    @property
    def in_order(self) -> bool:
        return getattr(self.source, "in_order", False)

    @property
    def windows(self) -> np.ndarray | None:
        """As the source's, over the documents that are left (see `lwm_core.data.order`)."""
        windows, chosen = getattr(self.source, "windows", None), self._kept.chosen
        return windows if windows is None or chosen is None else windows_within(windows, chosen)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Document:
        return self.source[self._kept[index]]

    @cached_property
    def _kept(self) -> Kept:
        stamp = self.stamp if self.cache is not None else None
        return kept_of(
            len(self.source), self._faults, (), stamp, self.cache, f"filtered {self._spelled()}", logging.INFO
        )

    def _faults(self, block: range) -> list[BadRecord | None]:
        """For each document, the bound that it is outside of."""
        documents = [self.source[i] for i in block]
        faults: list[BadRecord | None] = [None] * len(documents)
        for measure in MEASURES:
            left = [i for i, fault in enumerate(faults) if fault is None]
            if self._bounds(measure) == (None, None) or not left:
                continue
            for i, size in zip(left, self._sizes(measure, [documents[i] for i in left]), strict=True):
                faults[i] = self._fault(measure, size, documents[i].name)
        return faults

    def _sizes(self, measure: str, documents: Sequence[Document]) -> list[int]:
        if measure == "tokens":
            return _token_counts(documents, self.tokenizer)
        texts = [[span.content for span in d.spans if isinstance(span.content, str)] for d in documents]
        return [sum(len(t.encode()) if measure == "bytes" else len(t) for t in each) for each in texts]

    def _fault(self, measure: str, size: int, name: str) -> BadRecord | None:
        low, high = self._bounds(measure)
        if low is not None and size < low:
            return BadRecord("", f"has fewer than {low} {measure} ({size})", f"min_{measure} leaves it out", name)
        if high is not None and size > high:
            return BadRecord("", f"has more than {high} {measure} ({size})", f"max_{measure} leaves it out", name)
        return None

    def _spelled(self) -> str:
        names = [f"{end}_{m}" for m in MEASURES for end in ("min", "max")]
        return ", ".join(f"{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None)

    def _bounds(self, measure: str) -> tuple[int | None, int | None]:
        return getattr(self, f"min_{measure}"), getattr(self, f"max_{measure}")


def _token_counts(documents: Sequence[Document], tokenizer: TextTokenizer | None) -> list[int]:
    assert tokenizer is not None
    texts = [span.content for d in documents for span in d.spans if isinstance(span.content, str)]
    counts = iter(map(len, encode_many(tokenizer, texts)) if texts else ())
    return [sum(next(counts) if isinstance(s.content, str) else len(s.content) for s in d.spans) for d in documents]


def _stamp_of(tokenizer: TextTokenizer | None) -> Any:
    """JSON by which two tokenizers are told apart."""
    if tokenizer is None:
        return None
    return [
        type(tokenizer).__qualname__,
        tokenizer.size,
        dict(tokenizer.markers),
        list(map(int, tokenizer.encode(_PROBE))),
    ]
