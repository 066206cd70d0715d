"""Sources: the same text under every split, lazily, with messages that name file, line and field."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data import Document, Documents, Jsonl, TextFiles
from lwm_core.data.records import Field
from lwm_core.testing.source import check_source


BOOK = Path(__file__).parents[3] / "assets" / "book" / "moby-dick.txt"
SPLITS = ("chapters", "paragraphs", "windows", "files")


def text_of(source):
    return [document.spans[0].content for document in (source[i] for i in range(len(source)))]


@pytest.mark.parametrize("split", SPLITS)
def test_the_book_conforms(split):
    check_source(TextFiles((str(BOOK),), split), at_most=8)


def test_the_book_has_its_chapters_and_their_lines():
    source = TextFiles((BOOK,))
    lines = BOOK.read_text("utf-8").split("\n")
    assert len(source) == 136
    assert source[0].spans[0].content.startswith("CHAPTER 1. Loomings.")
    assert source[135].spans[0].content.startswith("EPILOGUE.")
    line = int(source[41].name.rpartition(":")[2])
    assert lines[line - 1] == "CHAPTER 42. The Whiteness of The Whale."


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text("aé字👍 \n", min_size=1).filter(lambda t: t.strip()), min_size=1, max_size=3),
    at=st.floats(0.05, 0.95),
    window=st.integers(4, 40),
)
def test_windows_of_two_parts_are_the_whole_text_once(tmp_path_factory, texts, at, window):
    folder = tmp_path_factory.mktemp("texts")
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(text, "utf-8", newline="")
    parts = []
    for start, stop in ((0.0, at), (at, 1.0)):
        try:
            parts += text_of(TextFiles(tuple(paths), "windows", window, start, stop))
        except ValueError as error:
            assert "give a larger part" in str(error)
    # Windows of nothing but spaces and line ends are left out.
    assert sorted("".join("".join(parts).split())) == sorted("".join("".join(texts).split()))
    assert all(len(part.encode()) <= window + 3 for part in parts)


@pytest.mark.parametrize("split", ["chapters", "paragraphs", "windows"])
def test_training_and_held_out_parts_share_nothing(split):
    book = BOOK.read_text("utf-8")
    train, held_out = (TextFiles((BOOK,), split, 4096, *part) for part in ((0.0, 0.9), (0.9, 1.0)))
    last, first = text_of(train)[-1], text_of(held_out)[0]
    assert book.index(last[-200:].strip()) < book.index(first[:200].strip())
    border = TextFiles((BOOK,), "files", start=0.9)[0].spans[0].content
    assert border.startswith(first[:100]), "every split puts the border in the same place"


def test_line_ends_and_byte_order_marks_do_not_reach_the_text(tmp_path):
    path = tmp_path / "dos.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n\r\n\r\nthree".encode())
    assert text_of(TextFiles((path,))) == ["one\ntwo", "three"]


def test_bad_text_files_are_named(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes(b"one\n\ntwo caf\xe9")
    with pytest.raises(FileNotFoundError, match="absent.txt"):
        TextFiles((tmp_path / "absent.txt",))
    with pytest.raises(ValueError, match="empty.txt is empty"):
        TextFiles((tmp_path / "empty.txt",))
    with pytest.raises(ValueError, match=r"latin.txt:3: not UTF-8 \(byte 0xe9"):
        TextFiles((tmp_path / "latin.txt",), "paragraphs")[1]
    with pytest.raises(ValueError, match="0 <= start < stop <= 1"):
        TextFiles((BOOK,), start=0.5, stop=0.5)


def test_jsonl_maps_fields_to_spans_in_order(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"q": "Who?", "a": "Ahab", "codes": [3, 4]}\n\n{"a": "B", "codes": [], "q": ""}\n')
    source = Jsonl((path,), (Field("codes", "vision"), Field("q", loss=0.0), "a"))
    check_source(source)
    assert [d.name.rpartition(":")[2] for d in (source[0], source[1])] == ["1", "3"]
    spans = source[0].spans
    assert [(s.modality, s.loss) for s in spans] == [("vision", 1.0), ("text", 0.0), ("text", 1.0)]
    assert np.array_equal(spans[0].content, [3, 4]) and spans[2].content == "Ahab"


@pytest.mark.parametrize(
    "line, message",
    [
        ("{broken", r"bad.jsonl:2: not JSON"),
        ("[1, 2]", r"bad.jsonl:2: not an object but a list"),
        ('{"texts": "x"}', r"bad.jsonl:2: field 'text' is missing \(there is 'texts'\): this record has texts"),
        ('{"text": 3}', r"bad.jsonl:2: field 'text' is a number \(3\)"),
        ('{"text": [1, true]}', r"bad.jsonl:2: field 'text\[1\]' is true or false"),
    ],
)
def test_bad_records_are_named(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    source = Jsonl((path,), ("text",))
    assert source[0].spans[0].content == "fine"
    with pytest.raises(ValueError, match=message):
        source[1]


def test_documents_in_memory_conform():
    check_source(Documents.of_texts(["a", "b"]))


class Forgetful:
    """Gives another document each time it is asked."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.asked += 1
        return Document.of_text(str(self.asked), "same")


def test_the_kit_catches_a_source_that_changes_its_mind():
    with pytest.raises(AssertionError, match="another document"):
        check_source(Forgetful())
