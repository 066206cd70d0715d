"""The reference source: documents held in memory. Reads no file."""

from collections.abc import Iterable
from dataclasses import dataclass

from lwm_core.data.base import Document


@dataclass(frozen=True)
class Documents:
    """The given documents, in order."""

    documents: tuple[Document, ...]

    @staticmethod
    def of_texts(texts: Iterable[str], name: str = "text") -> "Documents":
        """One document a text, named `name:0`, `name:1`, ..."""
        return Documents(tuple(Document.of_text(text, f"{name}:{i}") for i, text in enumerate(texts)))

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> Document:
        return self.documents[index]
