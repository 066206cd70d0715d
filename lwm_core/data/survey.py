"""What is in a file of records: how many of which kind, how long they are, and what is wrong with the others.

Owns the counting, in memory that does not grow with the file. It reads nothing: a source's `scan` does.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lwm_core.data.problems import BadRecord, Tally
from lwm_core.data.scan import Scanned
from lwm_core.text import TextTokenizer


PERCENTILES = (10, 50, 90, 99)
_FIELDS = 1000  # names of fields that are counted, as a file may have a new one in every record


@dataclass
class Lengths:
    """Sizes, exact up to three digits and rounded to three above, so that there are never many."""

    counts: Counter = field(default_factory=Counter)
    total: int = 0
    smallest: int | None = None
    largest: int = 0

    def add(self, size: int) -> None:
        step = 10 ** max(0, len(str(size)) - 3)
        self.counts[(size + step // 2) // step * step] += 1
        self.total += size
        self.smallest = size if self.smallest is None else min(self.smallest, size)
        self.largest = max(self.largest, size)

    def data(self) -> dict[str, Any]:
        """Sum, mean, smallest, percentiles by nearest rank, largest; nothing where nothing was added."""
        count = self.counts.total()
        if not count:
            return {}
        found, passed, ranks = {}, 0, [(p, -(-p * count // 100)) for p in PERCENTILES]
        for size in sorted(self.counts):
            passed += self.counts[size]
            found |= {f"p{p}": size for p, rank in ranks if rank <= passed and f"p{p}" not in found}
        ends = {"min": self.smallest, **found, "max": self.largest}
        return {"sum": self.total, "mean": round(self.total / count, 1), **ends}


@dataclass
class Survey:
    """Counts of one file; `tokenizer` None measures text in characters only."""

    file: str
    shown: int = 20
    tokenizer: TextTokenizer | None = None
    kinds: Counter = field(default_factory=Counter)
    fields: Counter = field(default_factory=Counter)
    chars: Lengths = field(default_factory=Lengths)
    codes: Lengths = field(default_factory=Lengths)
    tokens: Lengths = field(default_factory=Lengths)
    faults: Tally = field(init=False)

    def __post_init__(self):
        self.faults = Tally(self.shown)

    def take(self, scanned: Iterable[Scanned]) -> None:
        """Counts every record; a file without any is a fault too."""
        for one in scanned:
            self._count(one)
        if not self.good and not self.bad:
            self.faults.add(BadRecord("", "is empty", "put records in it, or leave it out", self.file))

    @property
    def good(self) -> int:
        return self.kinds.total()

    @property
    def bad(self) -> int:
        return self.faults.kinds.total()

    def data(self) -> dict[str, Any]:
        """All of it as JSON data."""
        errors = [
            {"file": f.file, f.unit: f.line, "field": f.field, "problem": f.problem, "fix": f.fix, "message": str(f)}
            for f in self.faults.first
        ]
        return {
            "file": self.file,
            "records": self.good + self.bad,
            "good": self.good,
            "bad": self.bad,
            "kinds": dict(self.kinds.most_common()),
            "fields": dict(self.fields.most_common()),
            "chars": self.chars.data(),
            "codes": self.codes.data(),
            "tokens": self.tokens.data(),
            "faults": dict(self.faults.kinds.most_common()),
            "errors": errors,
        }

    def _count(self, one: Scanned) -> None:
        if one.fault is not None:
            self.faults.add(one.fault)
            return
        assert one.document is not None
        self.kinds[one.kind] += 1
        for name in one.fields:
            if name in self.fields or len(self.fields) < _FIELDS:
                self.fields[name] += 1
        spans = one.document.spans
        self.chars.add(sum(len(span.content) for span in spans if isinstance(span.content, str)))
        codes = sum(len(span.content) for span in spans if not isinstance(span.content, str))
        if codes:
            self.codes.add(codes)
        if self.tokenizer is not None:
            texts = [span.content for span in spans if isinstance(span.content, str)]
            self.tokens.add(codes + sum(len(self.tokenizer.encode(text)) for text in texts))
