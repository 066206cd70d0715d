"""Conformance kit for sources: `check_source(source)`. Owns no test runner and needs none."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lwm_core.data import DataSource, Document, Span
from lwm_core.data.base import ReadsMany
from lwm_core.data.order import Windowed
from lwm_core.data.problems import LeavesOut


def check_source(source: DataSource, *, at_most: int = 32) -> None:
    """Raises `AssertionError` unless the source keeps its contract, over up to `at_most` documents.

    It has documents of the right form, gives the same one for the same index again, from several threads and
    after pickling; what it says of windows, of what it leaves out and of its data fits.
    """
    assert isinstance(source, DataSource), f"{type(source).__name__} lacks __len__ or __getitem__."
    count = len(source)
    assert isinstance(count, int) and count > 0, f"A source of {count} documents: nothing to check."
    indices = sorted({int(i) for i in np.linspace(0, count - 1, min(count, at_most))})
    documents = [source[i] for i in indices]
    for index, document in zip(indices, documents, strict=True):
        _check_document(document, index)
    with ThreadPoolExecutor(4) as pool:
        _check_same(list(pool.map(source.__getitem__, reversed(indices)))[::-1], documents, "from four threads")
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == count, "A pickled copy has another length."
    _check_same([copy[i] for i in indices], documents, "after pickling")
    _check_more(source, count)


def _check_more(source: DataSource, count: int) -> None:
    """The faces that a source may have besides."""
    if isinstance(source, ReadsMany):
        mixed = [*range(min(count, 5))[::-1], count - 1, 0]
        _check_same(list(source.many(mixed)), [source[i] for i in mixed], "among many")
        assert not len(source.many([])), "It reads something where nothing is asked for."
    if isinstance(source, Windowed) and source.windows is not None:
        bounds = np.asarray(source.windows)
        whole = bounds.ndim == 1 and len(bounds) > 1 and (bounds[0], bounds[-1]) == (0, count)
        assert whole and (np.diff(bounds) >= 0).all(), f"Windows {bounds} do not go from 0 to {count} without falling."
        assert source.together >= 1, f"It holds {source.together} windows at once."
    if isinstance(source, LeavesOut):
        report = source.left_out
        assert 0 <= report.count and len(report.first) <= report.count, f"It leaves out {report}."
    if hasattr(source, "stamp"):
        json.dumps(getattr(source, "stamp"))  # noqa: B009  (an optional face; JSON, or this raises)


def _check_document(document: Document, index: int) -> None:
    assert isinstance(document, Document), f"source[{index}] is a {type(document).__name__}, not a Document."
    assert document.name, f"source[{index}] has no name, so that no error can point at it."
    assert document.spans, f"{document.name} has no span."
    for span in document.spans:
        assert isinstance(span, Span) and span.modality, f"{document.name} holds something that is not a Span."
        assert np.isfinite(span.loss) and span.loss >= 0, f"{document.name}: a span has loss {span.loss}."
        if not isinstance(span.content, str):
            ids = np.asarray(span.content)
            assert ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer), (
                f"{document.name}: a {span.modality} span is {ids.dtype} of shape {ids.shape}; give a string or "
                "one-dimensional whole numbers."
            )


def _check_same(some: list[Document], others: list[Document], when: str) -> None:
    for a, b in zip(some, others, strict=True):
        same = a.name == b.name and len(a.spans) == len(b.spans)
        same = same and all(
            s.modality == t.modality and s.loss == t.loss and np.array_equal(s.content, t.content)
            for s, t in zip(a.spans, b.spans, strict=True)
        )
        assert same, f"{b.name} is another document {when}."
