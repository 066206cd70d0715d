"""Parquet and Hugging Face datasets: the same documents as from JSON lines, lazily, and streams resumed exactly."""

import json
import pickle

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lwm_core.data import BadRecord, Field, Filtered, Jsonl, Records
from lwm_core.data.order import order_of
from lwm_core.load import Stream
from lwm_core.testing.source import check_source
from lwm_sources import parquet
from lwm_sources.dataset import HuggingFace
from lwm_sources.parquet import Parquet
from lwm_sources.stream import HuggingFaceStream


ROWS = [
    {"text": f"row {i}", "question": None, "answer": None, "image": None}
    if i % 3
    else {"text": None, "question": f"q{i}", "answer": f"a{i}", "image": [[i, 1], [i, 2]]}
    for i in range(100)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same rows as `a.parquet` (in groups of 8), `a.jsonl` and a saved dataset, `a`."""
    made = tmp_path_factory.mktemp("tables")
    pq.write_table(pa.Table.from_pylist(ROWS), made / "a.parquet", row_group_size=8)
    (made / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(ROWS).save_to_disk(str(made / "a"))
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS[:10])).save_to_disk(str(made / "splits"))
    return made


def spans_of(source):
    documents = [source[i] for i in range(len(source))]
    return [[(s.modality, s.loss, list(s.content)) for s in d.spans] for d in documents]


@pytest.mark.parametrize(
    "options",
    [{"codebook": 999}, {"template": "{question?}[{answer?}{text?}]"}],
    ids=["schema", "template"],
)
def test_one_schema_whatever_the_file(folder, options):
    wanted = spans_of(Jsonl((folder / "a.jsonl",), **options))
    sources = [
        Parquet((folder / "a.parquet",), **options),
        HuggingFace(folder / "a", **options),
        HuggingFaceStream(100, path=folder / "a", window=16, **options),
        HuggingFaceStream(100, "json", data_files=(folder / "a.jsonl",), window=7, **options),
    ]
    for source in sources:
        check_source(source, at_most=16)
        assert spans_of(source) == wanted


def test_parquet_reads_only_the_row_groups_and_columns_that_are_asked_for(folder, monkeypatch):
    read = []

    def noted(name, group, columns):
        read.append((group, tuple(columns)))
        return whole(name, group, columns)

    whole = parquet._read
    monkeypatch.setattr(parquet, "_read", noted)
    source = Parquet((folder / "a.parquet",), template="[{question?}{text?}]", hold=2)
    source[17], source[18], source[99], source[16]
    assert read == [(2, ("question", "text")), (12, ("question", "text"))]
    read.clear()
    order = order_of(source)
    epoch = [order(at, 3) for at in range(100)]
    for i in epoch:
        source[i]
    assert sorted(epoch) == list(range(100))
    assert len(read) <= 13, "each row group is decoded once an epoch"


def test_parquet_over_fsspec_and_under_a_filter(folder):
    with fsspec.open("memory://tables/a.parquet", "wb") as file:
        file.write((folder / "a.parquet").read_bytes())
    source = Parquet(("memory://tables/*.parquet",), ("text",), on_error="skip")
    assert len(source) == 66 and source.left_out.count == 34
    short = Filtered(source, max_chars=5)
    check_source(short)
    order = order_of(short)
    assert len(short) == 6 and sorted(order(at, 1) for at in range(6)) == list(range(6))


def test_bad_tables_are_named(folder, tmp_path):
    with pytest.raises(BadRecord, match=r"a.parquet: field 'txt' is missing \(there is 'text'\): this record has text"):
        Parquet((folder / "a.parquet",), ("txt",))
    with pytest.raises(BadRecord, match=r"a.parquet:row 1: field 'text' is missing"):
        Parquet((folder / "a.parquet",), ("text",))[0]
    with pytest.raises(BadRecord, match="a: field 'txt' is missing"):
        HuggingFace(folder / "a", fields=("txt",))
    with pytest.raises(BadRecord, match="has the splits train: give one as `split`"):
        HuggingFace(folder / "splits")
    assert len(HuggingFace(folder / "splits", split="train", codebook=999)) == 10
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(BadRecord, match=r"other.parquet no kind of record has these fields \(url\)"):
        Parquet((tmp_path / "other.parquet",))
    (tmp_path / "cut.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-9])
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name, message in (("cut", "is damaged, cut off, or no Parquet file"), ("empty", "is empty")):
        with pytest.raises(BadRecord, match=rf"{name}.parquet {message}"):
            Parquet((tmp_path / f"{name}.parquet",))
    rest = Parquet((tmp_path / "cut.parquet", folder / "a.parquet"), codebook=999, on_error="skip")
    assert len(rest) == 100 and "cut.parquet is damaged" in rest.left_out.first[0]
    pq.write_table(
        pa.table({"text": pa.array([b"caf\xe9", b"ok"]).cast(pa.string(), safe=False)}), tmp_path / "l.parquet"
    )
    with pytest.raises(BadRecord, match=r"l.parquet:row 1: field 'text' is not UTF-8 \(byte 0xe9"):
        Parquet((tmp_path / "l.parquet",))[0]
    with pytest.raises(BadRecord, match=r"field 'image\[0\]' is a number"):
        pq.write_table(pa.table({"image": [[0.5]]}), tmp_path / "f.parquet")
        Parquet((tmp_path / "f.parquet",), (Field("image", "vision"),))[0]


def test_scans_agree_with_the_sources(folder):
    for cls, path in ((Parquet, folder / "a.parquet"), (HuggingFace, folder / "a"), (Jsonl, folder / "a.jsonl")):
        found = list(cls.scan(str(path), Records(codebook=999), 1 << 20))
        assert [s.kind for s in found] == ["text" if i % 3 else "qa" for i in range(100)]
        faults = [s.fault for s in cls.scan(str(path), Records(("text",)), 1 << 20) if s.fault]
        assert [f.line for f in faults] == [i + 1 for i in range(0, 100, 3)]


class Counted:
    """A tape that counts how many records are read from it."""

    def __init__(self, inner, read):
        self._inner, self._read = inner, read

    def __next__(self):
        self._read.append(1)
        return next(self._inner)

    def place(self):
        return self._inner.place()


def test_a_stream_goes_on_from_its_places_in_another_process(folder, tmp_path, monkeypatch):
    def opened(read):
        made = HuggingFaceStream(
            100, "json", data_files=(folder / "a.jsonl",), codebook=999, window=10, hold=1, cache=tmp_path
        )
        whole = HuggingFaceStream._tape
        monkeypatch.setattr(made._replayed, "_open_at", lambda place: Counted(whole(made, place), read))
        return made

    wanted = spans_of(Jsonl((folder / "a.jsonl",), codebook=999))
    first, read = opened(read := []), read
    assert [spans_of_one(first, i) for i in range(75)] == wanted[:75]
    assert len(read) == 80
    again = opened(read := [])
    assert spans_of_one(again, 75) == wanted[75] and len(read) == 10, "one window is read again, nothing before it"
    assert spans_of_one(again, 3) == wanted[3] and len(read) == 20, "going back costs one window too"


def spans_of_one(source, index):
    return [(s.modality, s.loss, list(s.content)) for s in source[index].spans]


def test_a_stream_leaves_out_what_is_bad_and_says_when_it_ends(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps({"text": "" if i % 4 == 1 else f"t{i}"}) + "\n" for i in range(20)))
    source = HuggingFaceStream(15, "json", data_files=(path,), window=4, on_error="skip")
    check_source(source)
    assert [d[0][2] for d in spans_of(source)] == [list(f"t{i}") for i in range(20) if i % 4 != 1]
    assert (source.left_out.count, source.left_out.of) == (5, 20)
    with pytest.raises(BadRecord, match="json:record 2: is empty"):
        HuggingFaceStream(15, "json", data_files=(path,), window=4)[0]
    with pytest.raises(ValueError, match="ended before document 16 of 99"):
        HuggingFaceStream(99, "json", data_files=(path,), window=4, on_error="skip")[15]


def test_a_training_stream_over_a_dataset_stream_resumes_exactly(folder):
    from lwm_core.data import Renderer, SequentialPacker
    from lwm_core.text import ByteTokenizer
    from lwm_core.vocab import Modality, Vocabulary

    tokenizer = ByteTokenizer()
    vocabulary = Vocabulary((Modality("text", tokenizer.size, tokenizer.markers),))

    def opened():
        source = HuggingFaceStream(
            90, "json", data_files=(folder / "a.jsonl",), template="[{text?}{answer?}]", window=16
        )
        render = Renderer(vocabulary, tokenizer)
        return Stream({"s": source}, {"s": 1.0}, render, SequentialPacker(32), rows=2, seed=3)

    with opened() as stream:
        state, steps = stream.init(), []
        for _ in range(16):
            state, rows = stream.next(state)
            steps.append((json.loads(json.dumps(state)), [row.tokens.tolist() for row in rows]))
    for at in (3, 11):
        with opened() as stream:
            state = steps[at][0]
            for _, wanted in steps[at + 1 : at + 4]:
                state, rows = stream.next(state)
                assert [row.tokens.tolist() for row in rows] == wanted


def test_sources_travel_with_what_they_know_and_without_open_files(folder):
    source = Parquet((folder / "a.parquet",), codebook=999)
    source[0]
    assert len(pickle.dumps(source)) < 20_000
    assert spans_of(pickle.loads(pickle.dumps(HuggingFace(folder / "a", codebook=999))))[5] == spans_of(source)[5]
