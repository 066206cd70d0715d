"""The text tokenizer interface. Owns the contract only; it does not import JAX."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class TextTokenizer(Protocol):
    """Text to ids and back. Ids are local to the text modality; `decode(encode(text)) == text`.

    Encoding adds nothing: no beginning or end marker, no space. Who wants a marker writes it. Safe to call
    from several threads, picklable, and deterministic.
    """

    @property
    def size(self) -> int:
        """How many ids there are, markers included."""
        ...

    @property
    def markers(self) -> dict[str, int]:
        """Named ids that no text encodes to; at least `"bos"` and `"eos"`."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of these ids; markers give nothing."""
        ...


@runtime_checkable
class EncodesMany(Protocol):
    """The second face of a tokenizer that is faster over many texts at once."""

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """For each text, what `encode` gives, as int32 [n]."""
        ...


def encode_many(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """For each text its ids, int32 [n], by whichever way the tokenizer has."""
    if isinstance(tokenizer, EncodesMany):
        return tokenizer.encode_many(texts)
    return [np.asarray(tokenizer.encode(text), np.int32) for text in texts]
