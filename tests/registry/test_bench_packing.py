"""`lwm bench packing` at a tiny size: what it measures, prints and keeps."""

import json
import sys

import pytest

from lwm_registry import cli


@pytest.fixture
def lwm(monkeypatch, capsys):
    """`lwm(*words)` gives (exit code, standard output, standard error) of the command."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lwm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run


def test_it_packs_the_same_documents_with_ours_and_grains(lwm, tmp_path):
    words = "bench packing --length 256 --tokens 30000 --repeats 1 --packer best-fit --packer padding --json --out"
    code, out, err = lwm(*words.split(), tmp_path)
    assert code == 0, err
    result = json.loads(out)
    assert json.loads((tmp_path / "packing.json").read_text("utf-8")) == result
    found = {record["packer"]: record for record in result["records"]}
    assert list(found) == ["best-fit", "padding", "grain best-fit", "grain best-fit, ids alone"]
    assert len({(r["documents"], r["tokens"]) for r in found.values()}) == 1
    assert found["padding"]["rows"] > found["grain best-fit"]["rows"] >= found["best-fit"]["rows"]
    assert all(r["rows_over_bound"] >= 0 and len(r["seconds"]) == 1 for r in found.values())
    assert found["grain best-fit"]["times_grain"] == 1.0
    assert [b["rows_per_rank"] for b in result["balance"]] == [1, 2, 4, 8]
    assert all(1 <= b["after"] <= b["before"] + 1e-9 for b in result["balance"])
    assert {s["layout"] for s in result["shards"]} >= {"contiguous", "zigzag", "striped"}


def test_without_json_it_prints_tables_and_names_are_checked(lwm):
    code, out, _ = lwm(*"bench packing --length 64 --tokens 3000 --repeats 1 --packer sequential".split())
    assert code == 0 and "times grain's" in out and "striped" in out
    code, _, err = lwm(*"bench packing --packer best-ft".split())
    assert code == 2 and "Did you mean 'best-fit'?" in err
