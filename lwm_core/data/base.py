"""The records and contracts of the data path: Document → Sample → Row.

Owns `Span`, `Document`, `Sample`, `Row` and the `DataSource` and `Packer` protocols. It renders, packs and
reads nothing itself, and does not import JAX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, overload, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Span:
    """A run of one modality within a document.

    - `modality`: a name of the vocabulary;
    - `content`: a `str` for text, local int ids for anything already tokenised (vision: one run per picture
      or clip, end-of-frame and end-of-vision markers included);
    - `loss`: how much the tokens of this span count as targets; 0 for a prompt, 1 for an answer.
    """

    modality: str
    content: str | np.ndarray
    loss: float = 1.0


@dataclass(frozen=True)
class Document:
    """What a source yields: spans in order, a name for messages, and free facts (timestamps, file)."""

    spans: tuple[Span, ...]
    name: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)

    @staticmethod
    def of_text(text: str, name: str = "") -> "Document":
        return Document((Span("text", text),), name)


@dataclass(frozen=True, eq=False)
class Texts(Sequence[Document]):
    """Documents that are one text each, made when they are asked for.

    A block of them is two lists of strings: Python's collector passes over strings, but goes through the whole program
    once enough objects, such as documents, have stayed for a while.
    """

    contents: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.contents)

    @overload
    def __getitem__(self, index: int) -> Document: ...

    @overload
    def __getitem__(self, index: slice) -> "Texts": ...

    def __getitem__(self, index: int | slice) -> "Document | Texts":
        if isinstance(index, slice):
            return Texts(self.contents[index], self.names[index])
        return Document.of_text(self.contents[index], self.names[index])


def documents_of(items: Sequence[tuple[str | Document, str]]) -> Sequence[Document]:
    """Documents from pairs: a document and anything, or a text and the name that its document has."""
    if all(type(content) is str for content, _ in items):
        return Texts([str(content) for content, _ in items], [name for _, name in items])
    return [Document.of_text(content, name) if isinstance(content, str) else content for content, name in items]


@dataclass(frozen=True, eq=False)
class Sample:
    """A rendered document: ids of the model, and how much each token counts *as a target*.

    `tokens` int32 [n], `loss` float32 [n]; the first token is never a target of this sample's own. `name` is the
    document's, for messages; `source` is where a stream drew it from.
    """

    tokens: np.ndarray
    loss: np.ndarray
    name: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class Row:
    """One training row of fixed length, in document order.

    - `tokens` int32 [T]; 0 where there is padding;
    - `segment` int32 [T]: 1, 2, ... per packed sample, 0 for padding;
    - `position` int32 [T]: restarts at 0 with every segment;
    - `loss` float32 [T]: weight of the token at t *as a target*, already what the objective should sum.
    """

    tokens: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    loss: np.ndarray


@runtime_checkable
class DataSource(Protocol):
    """A finite, random-access collection of documents.

    `source[i]` is deterministic, safe to call from several threads and processes, and the source is
    picklable. Long collections read lazily. Errors name the file and the record.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Document: ...


@runtime_checkable
class ReadsMany(Protocol):
    """The second face of a source that is faster over many documents at once."""

    def many(self, indices: Sequence[int]) -> Sequence[Document]:
        """`[source[i] for i in indices]`, or what holds the same; raises what one of them raises."""
        ...


def read_many(source: DataSource, indices: Sequence[int]) -> Sequence[Document]:
    """The documents of these indices in order, by whichever way the source has."""
    if isinstance(source, ReadsMany):
        return source.many(indices)
    return [source[index] for index in indices]


S = TypeVar("S")


@runtime_checkable
class Packer(Protocol[S]):
    """Turns samples into rows of one length, with explicit state.

    `S` is plain JSON data, so that a checkpoint holds what is not packed yet. No token is lost, doubled or
    reordered within a sample; two samples in a row are two segments.
    """

    @property
    def length(self) -> int: ...

    def init(self) -> S: ...

    def push(self, state: S, sample: Sample) -> tuple[S, list[Row]]:
        """Takes one sample; returns the rows that are now complete."""
        ...

    def flush(self, state: S) -> tuple[S, list[Row]]:
        """Pads and returns what is left; the state is then as `init` gives it."""
        ...
