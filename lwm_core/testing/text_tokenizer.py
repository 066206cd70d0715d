"""Conformance kit for text tokenizers: `check_text_tokenizer(tokenizer)`. Owns no test runner and needs none."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lwm_core.text import TextTokenizer, encode_many


TEXTS = (
    "",
    " ",
    "Call me Ishmael.",
    "  two spaces, a tab\t, and line\nends\r\n\n\n at the end  ",
    "The special magic Tokyo number is: 7315904",
    "naïve façade e\u0301 Ångström ß ﬁ — “quotes” …",
    "数字は四十二です。 مرحبا بالعالم שלום हिन्दी ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "\u0000\u0007\u001b[0m\ufeff\u200b\u202e\uffff\U0010ffff",
    "<bos> <eos> <s></s> <unk> <pad> <|endoftext|> <|im_start|> [CLS] ▁ ## Ġ",
    "<vision></vision> USER: ASSISTANT:",
    "z\u0351\u0306a\u030a\u0317l\u0344g\u0340o\u0327" * 3,
    "a" * 5000,
)


def check_text_tokenizer(tokenizer: TextTokenizer, *, texts: tuple[str, ...] = TEXTS, exact: bool = True) -> None:
    """Raises `AssertionError` unless the tokenizer keeps its contract.

    Ids are in range; nothing is added; no text encodes to a marker and markers decode to nothing; copies and
    threads agree; and, unless `exact=False` for one that normalises, every text comes back as it was.
    """
    assert isinstance(tokenizer, TextTokenizer), f"{type(tokenizer).__name__} lacks a part of TextTokenizer."
    markers = tokenizer.markers
    assert {"bos", "eos"} <= set(markers), f"The markers are {sorted(markers)}: bos and eos are needed."
    assert all(0 <= i < tokenizer.size for i in markers.values()), f"A marker is not in 0..{tokenizer.size - 1}."
    assert tokenizer.encode("") == [], "The empty text encodes to something: a marker or a space is added."
    encoded = [tokenizer.encode(text) for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        _check_text(tokenizer, text, ids, exact)
    for ids, many in zip(encoded, encode_many(tokenizer, texts), strict=True):
        assert many.dtype == np.int32 and many.tolist() == ids, "encode_many gives other ids than encode."
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == encoded, "Four threads encode differently from one."
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(text) for text in texts] == encoded, "A pickled copy encodes differently."
    assert copy.size == tokenizer.size and copy.markers == markers, "A pickled copy has other ids."


def _check_text(tokenizer: TextTokenizer, text: str, ids: list[int], exact: bool) -> None:
    shown = repr(text[:60])
    assert all(isinstance(i, int) and 0 <= i < tokenizer.size for i in ids), f"{shown} has ids out of range."
    hit = sorted(name for name, index in tokenizer.markers.items() if index in ids)
    assert not hit, f"{shown} encodes to the marker {hit[0]!r}: text must never give one."
    back = tokenizer.decode(ids)
    if exact:
        assert back == text, f"{shown} comes back as {back[:60]!r}."
    assert tokenizer.decode(np.asarray(ids, np.int32)) == back, "decode does not take an array of ids."
    marked = [tokenizer.markers["bos"], *ids, tokenizer.markers["eos"]]
    assert tokenizer.decode(marked) == back, f"{shown} with markers round it comes back differently."
