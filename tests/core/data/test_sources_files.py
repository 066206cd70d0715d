"""Files as they come: packed, cut off, remote, huge, changed; bad records fatal or left out and counted, as asked."""

import gzip
import io
import json
import logging
import pickle
import zipfile

import fsspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.data import BadRecord, Documents, Filtered, Jsonl, Records, TextFiles
from lwm_core.data.json_lines import line_table, lines
from lwm_core.testing.source import check_source
from lwm_core.text import ByteTokenizer


TEXTS = [f"record {i} " + "x" * (i % 50) for i in range(500)]
LINES = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS)


def texts_of(source):
    return [source[i].spans[0].content for i in range(len(source))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LWM_CACHE", str(tmp_path / "cache"))


@given(
    parts=st.lists(
        st.sampled_from([b"\n", b"\r\n", b"a", b" ", b"\t", b"{}", b"\xe9", b"long" * 9, b"\0"]), max_size=40
    ),
    chunk=st.integers(1, 12),
)
def test_the_lines_of_a_file_are_found_in_chunks_of_any_size(parts, chunk):
    data = b"".join(parts)
    wanted = [
        (number, line.rstrip(b"\r\n")) for number, line in enumerate(data.split(b"\n"), 1) if line.strip(b" \t\r\n")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lwm_core.data.json_lines.CHUNK", chunk)
        table = line_table(io.BytesIO(data))
    assert [(int(n), data[a:b].rstrip(b"\r\n")) for a, b, n in table] == wanted
    assert list(lines(io.BytesIO(data), 1000)) == wanted


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_packed_files_read_the_same_and_cut_off_ones_are_named_with_their_line(tmp_path, suffix, pack):
    whole, cut = tmp_path / f"whole.jsonl{suffix}", tmp_path / f"cut.jsonl{suffix}"
    noise = [f"{i} {np.random.default_rng(i).bytes(40).hex()}" for i in range(3000)]
    packed = pack(b"".join(json.dumps({"text": text}).encode() + b"\n" for text in noise))
    whole.write_bytes(packed)
    cut.write_bytes(packed[: len(packed) // 2])
    source = Jsonl((whole,))
    check_source(source)
    assert texts_of(source) == noise
    with pytest.raises(BadRecord, match=rf"cut.jsonl{suffix}(:\d+)?:? is damaged or cut off"):
        Jsonl((cut,))
    rest = Jsonl((cut,), on_error="skip")
    assert texts_of(rest) == noise[: len(rest)] and rest.left_out.count == 1
    scanned = list(Jsonl.scan(str(cut), Records()))
    assert [s.document.spans[0].content for s in scanned[:-1] if s.document] == texts_of(rest)
    assert len(rest) > 100 and scanned[-1].fault and scanned[-1].fault.line == len(rest) + 1


def test_byte_order_marks_and_line_ends(tmp_path):
    path = tmp_path / "dos.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"))
    assert texts_of(Jsonl((path,))) == TEXTS


def test_any_fsspec_path_reads_the_same(tmp_path):
    with fsspec.open("memory://data/a.jsonl", "wb") as file:
        file.write(LINES)
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/b.jsonl", LINES)
    with fsspec.open("memory://data/c.txt", "wb") as file:
        file.write(b"one\n\ntwo")
    for url in ("memory://data/a.jsonl", "memory://data/*.jsonl", f"zip://in/b.jsonl::{tmp_path}/z.zip"):
        source = Jsonl((url,))
        check_source(source, at_most=8)
        assert texts_of(source) == TEXTS
    assert texts_of(TextFiles(("memory://data/c.txt",), "paragraphs")) == ["one", "two"]
    with pytest.raises(FileNotFoundError, match="gone.jsonl"):
        Jsonl(("memory://data/gone.jsonl",))


def test_patterns_name_files_in_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}))
    assert texts_of(Jsonl((str(tmp_path / "*.jsonl"),))) == ["a", "b"]
    with pytest.raises(FileNotFoundError, match=r"\*.json'"):
        Jsonl((str(tmp_path / "*.json"),))


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_line_over_the_limit_is_never_read(tmp_path, where, monkeypatch):
    path, long = tmp_path / "long.jsonl", b'{"text": "' + b"x" * 100_000 + b'"}\n'
    path.write_bytes({"first": long + LINES, "middle": LINES + long + LINES, "last": LINES + long[:-1]}[where])
    source = Jsonl((path,), on_error="skip", longest=4096)
    assert texts_of(source)[:500] == TEXTS and source.left_out.count == 1
    assert "too long a line (100012 bytes, the limit is 4096)" in source.left_out.first[0]
    found = [s.fault for s in Jsonl.scan(str(path), Records(), 4096) if s.fault]
    assert [f.line for f in found] == [{"first": 1, "middle": 501, "last": 501}[where]]


def test_bad_records_are_fatal_or_left_out_as_asked(tmp_path, caplog):
    path = tmp_path / "mixed.jsonl"
    bad = [b'{"text": 1}', b"{", b'{"text": "caf\xe9"}', b"\0\0"]
    good = LINES.splitlines()
    path.write_bytes(b"\n".join([*good[:3], bad[0], *good[3:6], *bad[1:], *good[6:]]))
    source = Jsonl((path,))
    assert len(source) == 504
    with pytest.raises(BadRecord, match=r"mixed.jsonl:4: field 'text' is a number \(1\)"):
        source[3]
    with caplog.at_level(logging.WARNING):
        source = Jsonl((path,), on_error="skip")
    check_source(source)
    assert texts_of(source) == TEXTS
    report = source.left_out
    assert (report.count, report.of, len(report.first)) == (4, 504, 3)
    assert report.kinds == {"is a number": 1, "not JSON": 1, "not UTF-8": 1, "NUL bytes": 1}
    assert "mixed.jsonl:4" in caplog.text and "and 1 more" in caplog.text
    (tmp_path / "none.jsonl").write_bytes(b"{\n{\n")
    with pytest.raises(ValueError, match="2 of 2 records left out"):
        Jsonl((tmp_path / "none.jsonl",), on_error="skip")


def test_empty_files_are_fatal_or_left_out_as_asked(tmp_path):
    full, empty, blank = (tmp_path / f"{name}.jsonl" for name in ("full", "empty", "blank"))
    full.write_bytes(LINES)
    empty.write_bytes(b"")
    blank.write_bytes(b"\n \r\n\n")
    with pytest.raises(ValueError, match="empty.jsonl is empty"):
        Jsonl((full, empty))
    source = Jsonl((full, empty), on_error="skip")
    assert len(source) == 500 and "empty.jsonl is empty" in source.left_out.first[0]
    with pytest.raises(ValueError, match="they hold empty lines only"):
        Jsonl((blank,))


def test_text_in_mixed_encodings_is_left_out_by_document(tmp_path):
    path = tmp_path / "mixed.txt"
    path.write_bytes(b"one\n\ncaf\xe9\n\nthree\n\nfour\0\0")
    source = TextFiles((path,), "paragraphs", on_error="skip")
    check_source(source)
    assert texts_of(source) == ["one", "three"]
    assert source.left_out.kinds == {"not UTF-8": 1, "NUL bytes": 1}
    assert "mixed.txt:3: not UTF-8" in source.left_out.first[0]


def test_the_check_is_kept_until_the_data_changes(tmp_path, monkeypatch):
    path = tmp_path / "some.jsonl"
    path.write_bytes(LINES + b"{\n")

    def opened():
        return Jsonl((path,), on_error="skip", cache=tmp_path / "kept")

    assert opened().left_out.count == 1
    with monkeypatch.context() as patch:
        patch.setattr(Jsonl, "_faults", lambda self, block: pytest.fail("checked again"))
        again = opened()
        assert len(again) == 500 and again.left_out.count == 1
    path.write_bytes(LINES + b"{\n{\n")
    assert opened().left_out.count == 2


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "old"}')
    assert texts_of(Jsonl((path,))) == ["old"]
    (tmp_path / "b").write_text('{"text": "another"}')
    (tmp_path / "b").replace(path)
    assert texts_of(Jsonl((path,))) == ["another"]


@given(draw=st.lists(st.integers(0, 1499), max_size=30), jsonl=st.booleans())
def test_many_documents_of_many_files_are_those_read_one_by_one(tmp_path_factory, draw, jsonl):
    folder = tmp_path_factory.mktemp("many")
    for name in "cab":
        texts = [f"{name} {text}" for text in TEXTS]
        lines = "".join(json.dumps({"text": text}) + "\r\n" for text in texts)
        (folder / f"{name}.txt").write_text(lines if jsonl else "\n\n".join(texts), newline="")
    paths = (str(folder / "*.txt"),)
    source = Jsonl(paths) if jsonl else TextFiles(paths, "paragraphs")
    assert list(source.many(draw)) == [source[index] for index in draw]
    across = [document.spans[0].content for document in source.many(range(499, 502))]
    assert across == [f"a {TEXTS[499]}", "b record 0 ", "b record 1 x"]


def test_a_file_cut_off_or_gone_since_is_named_also_among_many(tmp_path):
    paths = [tmp_path / f"{name}.jsonl" for name in "ab"]
    for path in paths:
        path.write_bytes(LINES)
    source = Jsonl(tuple(paths))
    assert len(source.many([0, 999])) == 2
    paths[1].write_bytes(LINES[:1000])
    with pytest.raises(BadRecord, match=r"b.jsonl:500: not JSON"):
        source.many([0, 999])
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match="b.jsonl"):
        source.many([0, 999])


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    low=st.integers(0, 20),
    more=st.integers(0, 20),
    measure=st.sampled_from(["tokens", "chars", "bytes"]),
)
def test_filters_keep_exactly_what_is_within_the_bounds(sizes, low, more, measure):
    inner = Documents.of_texts(["é" * size for size in sizes])
    length = {"chars": 1, "bytes": 2, "tokens": 2}[measure]
    bounds = {f"min_{measure}": low, f"max_{measure}": low + more}
    source = Filtered(inner, tokenizer=ByteTokenizer(), **bounds)
    wanted = [i for i, size in enumerate(sizes) if low <= size * length <= low + more]
    assert [source[i].name for i in range(len(source))] == [f"text:{i}" for i in wanted]
    assert source.left_out.count == len(sizes) - len(wanted)


def test_filters_are_kept_and_add_to_what_their_source_leaves_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + b"{\n")
    inner = Jsonl((path,), on_error="skip")
    source = Filtered(inner, min_chars=30, max_tokens=40, tokenizer=ByteTokenizer(), cache=tmp_path / "kept")
    check_source(source)
    assert all(30 <= len(text) <= 40 for text in texts_of(source))
    assert len(source) + source.left_out.count == 501
    assert source.left_out.kinds["has fewer than 30 chars"] > 0
    again = Filtered(inner, min_chars=30, max_tokens=40, tokenizer=ByteTokenizer(), cache=tmp_path / "kept")
    assert len(again) == len(source) and again.left_out == source.left_out
    assert len(pickle.loads(pickle.dumps(source))) == len(source)


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "without a bound"),
        ({"min_chars": 5, "max_chars": 4}, "0 <= min <= max"),
        ({"min_tokens": 5}, "need a `tokenizer`"),
        ({"min_chars": 5, "cache": "x"}, "has no `stamp`"),
    ],
)
def test_filters_that_cannot_work_are_refused(options, message):
    from pathlib import Path

    options = {key: Path(value) if key == "cache" else value for key, value in options.items()}
    with pytest.raises(ValueError, match=message):
        Filtered(Documents.of_texts(["a"]), **options)


@pytest.mark.slow
def test_a_line_of_two_gigabytes_costs_no_memory(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "huge.jsonl"
    with open(path, "wb") as file:
        file.write(LINES + b'{"text": "')
        file.seek(2 << 30, io.SEEK_CUR)
        file.write(b'"}\n' + LINES)
    program = (
        "import sys; from lwm_core.data import Jsonl, Records\n"
        "source = Jsonl((sys.argv[1],), on_error='skip')\n"
        "faults = [s.fault for s in Jsonl.scan(sys.argv[1], Records()) if s.fault]\n"
        # ru_maxrss would count what the suite's own process held before the program took its place.
        "held = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(len(source), source.left_out.count, faults[0].line, held)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    documents, bad, line, kilobytes = map(int, done.stdout.split())
    assert (documents, bad, line) == (1000, 1, 501) and kilobytes < 400_000
