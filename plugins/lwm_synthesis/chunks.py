"""Documents cut into chunks of so many tokens, between words; nothing is lost and nothing is said twice.

Owns where a chunk ends. It counts with the tokenizer of the model that will read them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from lwm_core.data import DataSource, Document
from lwm_core.text import TextTokenizer
from lwm_synthesis.base import Chunk


WORD = re.compile(r"\S+\s*|\s+")
NEAR = 0.95  # a chunk that is this full is not grown further


@dataclass(frozen=True, eq=False)
class Chunker:
    """The chunks of each document of a source, the last few documents kept at hand.

    - `size`: tokens in a chunk at most; only a document's last chunk is much shorter.
    """

    documents: DataSource
    tokenizer: TextTokenizer
    size: int

    def of(self, index: int) -> tuple[Chunk, ...]:
        """The chunks of document `index`, in order."""
        return _cached(self, index)

    def beginning(self, chunk: Chunk, room: int) -> list[Chunk]:
        """The first `room` tokens of a chunk, or nothing where that is less than an eighth of one."""
        if room < max(1, self.size // 8):
            return []
        short = Chunker(self.documents, self.tokenizer, room)
        return list(islice(short.cut(Document.of_text(chunk.text, chunk.name)), 1))

    def cut(self, document: Document) -> Iterator[Chunk]:
        text = _text_of(document)
        pieces = WORD.findall(text) if text.strip() else []
        start, guess = 0, max(1, self.size // 2)
        while start < len(pieces):
            count, tokens = self._fit(pieces, start, guess)
            if not count:
                pieces[start : start + 1] = self._halves(pieces[start])
                continue
            name = f"{document.name}#{start}"
            yield Chunk("".join(pieces[start : start + count]), name, tokens)
            start, guess = start + count, count

    def _fit(self, pieces: list[str], start: int, guess: int) -> tuple[int, int]:
        """How many words from `start` fill a chunk, and its tokens; 0 where not even one fits."""
        best, most = (0, 0), len(pieces) - start
        low, high, now = 1, most, min(guess, most)
        while low <= high:
            tokens = len(self.tokenizer.encode("".join(pieces[start : start + now])))
            if tokens > self.size:
                high = now - 1
            else:
                best, low = (now, tokens), now + 1
                if tokens >= NEAR * self.size or now == most:
                    break
            # A straight line through what was measured lands near the end; the bounds make it stop.
            now = min(max(int(now * self.size * (1 + NEAR) / 2 / max(tokens, 1)), low), high)
        return best

    @staticmethod
    def _halves(piece: str) -> list[str]:
        """A word of more tokens than a chunk holds, in two."""
        if len(piece) == 1:
            raise ValueError(f"The character {piece!r} alone has more tokens than a chunk: give a larger `chunk`.")
        middle = len(piece) // 2
        return [piece[:middle], piece[middle:]]


@lru_cache(maxsize=16)
def _cached(chunker: Chunker, index: int) -> tuple[Chunk, ...]:
    return tuple(chunker.cut(chunker.documents[index]))


def _text_of(document: Document) -> str:
    for span in document.spans:
        if not isinstance(span.content, str):
            raise ValueError(
                f"Document {document.name or '(unnamed)'} holds ids of {span.modality}: questions are made from text; "
                "give a source of text."
            )
    return "".join(str(span.content) for span in document.spans)
