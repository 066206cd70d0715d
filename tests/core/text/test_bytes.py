"""The byte tokenizer keeps the contract, and the kit catches tokenizers that do not."""

from dataclasses import dataclass

import pytest

from lwm_core.testing.text_tokenizer import check_text_tokenizer
from lwm_core.text import ByteTokenizer


def test_bytes_conform():
    check_text_tokenizer(ByteTokenizer())


def test_a_cut_character_decodes_to_a_replacement():
    assert ByteTokenizer().decode(list("é".encode())[:1]) == "\ufffd"


@dataclass(frozen=True)
class AddsBos(ByteTokenizer):
    def encode(self, text):
        return [256, *ByteTokenizer.encode(self, text)]


@dataclass(frozen=True)
class ReadsMarkers(ByteTokenizer):
    def encode(self, text):
        return [257] if text.startswith("<bos>") else ByteTokenizer.encode(self, text)


@dataclass(frozen=True)
class Lowers(ByteTokenizer):
    def encode(self, text):
        return ByteTokenizer.encode(self, text.lower())


@pytest.mark.parametrize("broken, message", [(AddsBos, "empty text"), (ReadsMarkers, "marker"), (Lowers, "comes back")])
def test_the_kit_catches(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_text_tokenizer(broken())
