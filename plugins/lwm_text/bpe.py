"""Byte-pair encoding over the `tokenizers` library: any Hugging Face `tokenizer.json`.

Owns loading such a file and holding it to the `TextTokenizer` contract: nothing added, nothing truncated,
markers that no text encodes to. Training one is in `train.py`; SentencePiece `.model` files are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer


def _special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    added = tokenizer.get_added_tokens_decoder()
    return {token.content: index for index, token in added.items() if token.special}


def _load(path: Path | str) -> Tokenizer:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"No tokenizer file {str(path)!r} (seen from {Path.cwd()}): give the path of a tokenizer.json, "
            "or make one with `python -m lwm_text.train FILE --size 2048 --out PATH`."
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for whatever is wrong in the file
        raise ValueError(
            f"{path} is not a Hugging Face tokenizer.json ({error}): give that file, not a "
            "tokenizer_config.json and not a SentencePiece .model."
        ) from error
    tokenizer.no_truncation()  # a file may ask for both; a document is never cut or padded here
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "<eos>" written in a text is text
    return tokenizer


@dataclass(frozen=True)
class BPETokenizer:
    """A `TextTokenizer` from a `tokenizer.json`.

    - `path`: the file, relative to the working directory;
    - `bos`, `eos`: which special tokens of the file are the markers "bos" and "eos" (they may be the same
      one, as in GPT-2); every other special token is a marker under its own spelling.

    `decode(encode(text)) == text` holds for byte-level files, such as those that `lwm_text.train` makes; a
    file with a normaliser (lower-casing, NFKC) gives back the normalised text.
    """

    path: Path | str
    bos: str = "<bos>"
    eos: str = "<eos>"

    def __post_init__(self):
        self.markers  # noqa: B018  (a bad file is an error now, not at the first document)

    def __getstate__(self):
        # Without the loaded tokenizer: pickling it forgets encode_special_tokens, so a copy reads the file.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _load(self.path)

    @cached_property
    def size(self) -> int:
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def markers(self) -> dict[str, int]:
        special = _special_tokens(self._tokenizer)
        for option, token in (("bos", self.bos), ("eos", self.eos)):
            if token not in special:
                raise ValueError(
                    f"{self.path} has no special token {token!r}: it has {', '.join(special) or 'none'}. "
                    f"Name one of them with the option {option!r}."
                )
        others = {token: index for token, index in special.items() if token not in (self.bos, self.eos)}
        return {"bos": special[self.bos], "eos": special[self.eos], **others}

    def encode(self, text: str) -> list[int]:
        # The batch form is the one that skips character offsets, which nobody here reads.
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`, for all texts at once: the library spreads them over its threads (RAYON_NUM_THREADS)."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        encoded.reverse()
        return [np.array(encoded.pop().ids, np.int32) for _ in range(len(encoded))]  # each is freed once it is read

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)
