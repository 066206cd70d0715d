"""The reference text tokenizer: UTF-8 bytes. Owns no file and learns nothing; does not import JAX."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


BOS, EOS, SIZE = 256, 257, 258


@dataclass(frozen=True)
class ByteTokenizer:
    """Ids 0..255 are bytes of UTF-8, then the markers "bos" and "eos"."""

    @property
    def size(self) -> int:
        return SIZE

    @property
    def markers(self) -> dict[str, int]:
        return {"bos": BOS, "eos": EOS}

    def encode(self, text: str) -> list[int]:
        """The bytes of `text`; raises `UnicodeEncodeError` for a lone surrogate, which UTF-8 cannot hold."""
        return list(text.encode("utf-8"))

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text; bytes that are not UTF-8, as when a character is cut, become U+FFFD."""
        return bytes(i for i in map(int, ids) if i < BOS).decode("utf-8", errors="replace")
