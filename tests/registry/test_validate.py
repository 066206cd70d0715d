"""`lwm validate`: file, line, field and fix of every bad record; what is in the good ones; an exit code."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lwm_registry import cli


@pytest.fixture
def validate(monkeypatch, capsys):
    """`validate(*words)` gives (exit code, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lwm", "validate", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run


GOOD = [{"text": "word " * n} for n in range(1, 101)] + [{"question": "Who?", "answer": "Ahab.", "url": "x"}] * 3


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.jsonl"
    path.write_text("\n".join(map(json.dumps, GOOD)))
    return path


def test_good_data(validate, good):
    code, out, err = validate(good, "--json", "--tokenizer", "bytes")
    (found,) = json.loads(out)["files"]
    assert code == 0 and not err and json.loads(out)["ok"]
    assert (found["records"], found["good"], found["bad"]) == (103, 103, 0)
    assert found["kinds"] == {"text": 100, "qa": 3} and found["fields"]["url"] == 3
    lengths = sorted(
        [5 * n for n in range(1, 101)] + [len("You are a helpful assistant. USER: Who? ASSISTANT: Ahab.")] * 3
    )
    assert found["tokens"] == found["chars"]
    assert found["chars"]["sum"] == sum(lengths) and (found["chars"]["min"], found["chars"]["max"]) == (5, 500)
    assert found["chars"]["p50"] == lengths[51] and found["chars"]["p90"] == lengths[92]
    code, out, _ = validate(good)
    assert code == 0 and "103 good (100 text, 3 qa), 0 bad" in out


def test_bad_data(validate, good, tmp_path):
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text('{"text": "fine"}\n' + '{"text": 3}\n' * 30 + '{"question": "q", "answre": "a"}\n{broken')
    empty.write_text("")
    code, out, _ = validate(good, bad, empty, "--json", "--errors", 2)
    said = json.loads(out)
    assert code == 1 and not said["ok"] and (said["good"], said["bad"]) == (104, 33)
    found = said["files"][1]
    assert found["bad"] == 32 and len(found["errors"]) == 2
    assert found["faults"] == {"is a number": 30, "is missing": 1, "not JSON": 1}
    error = found["errors"][0]
    assert (error["line"], error["field"], error["problem"]) == (2, "text", "is a number (3)") and error["fix"]
    assert said["files"][2]["errors"][0]["problem"] == "is empty"
    code, out, _ = validate(bad)
    assert code == 1 and "bad.jsonl:2: field 'text' is a number (3): write text in quotes" in out
    assert "... and 12 more bad records" in out


def test_what_a_path_is_decides_which_source_reads_it(validate, good, tmp_path):
    table, text, odd = tmp_path / "t.parquet", tmp_path / "t.txt", tmp_path / "t.data"
    pq.write_table(pa.table({"text": ["a", None], "caption": [None, "b"]}), table)
    text.write_bytes(b"one\ncaf\xe9\n")
    odd.write_bytes(good.read_bytes())
    code, out, _ = validate(table, text, "--json")
    parquet, plain = json.loads(out)["files"]
    assert code == 1 and parquet["as"] == "parquet" and plain["as"] == "text"
    assert parquet["errors"][0]["row"] == 2 and plain["errors"][0]["line"] == 2
    code, _, err = validate(odd)
    assert code == 2 and "say so with --as, one of dataset, jsonl, parquet, shards, text" in err
    assert validate(odd, "--as", "jsonl")[0] == 0
    code, _, err = validate(odd, "--as", "needle")
    assert code == 2 and "has no scan()" in err
    code, _, err = validate(tmp_path / "gone.jsonl")
    assert code == 2 and "No file" in err


def test_options_of_the_source(validate, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"q": "Q", "a": "A", "codes": [1, 2]}\n{"q": "Q", "codes": [[1, 9]]}\n')
    code, out, _ = validate(path, "--template", "{q}[{a} {codes:vision}]", "--json")
    (found,) = json.loads(out)["files"]
    assert code == 1 and found["kinds"] == {"template": 1} and found["codes"]["sum"] == 2
    assert [e["field"] for e in found["errors"]] == ["a"]
    code, out, _ = validate(path, "--field", "codes:vision", "--codebook", 8, "--json")
    (found,) = json.loads(out)["files"]
    assert [e["field"] for e in found["errors"]] == ["codes[0][1]"]
    code, _, err = validate(path, "--template", "{q")
    assert code == 2 and "column 1" in err
