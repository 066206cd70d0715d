"""`lwm bench attention` at a tiny size: what it prints, keeps and refuses."""

import json
import sys
from pathlib import Path

import pytest

from lwm_registry import cli
from lwm_registry.cli import bench


FIELDS = {"backend", "case", "direction", "seconds_median", "flops_per_second", "temporary_bytes"}


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


README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


@pytest.mark.parametrize("subject", [subject.__name__ for subject in bench.SUBJECTS])
def test_every_subject_is_in_the_readme_and_its_help_has_an_example(lwm, subject):
    code, out, _ = lwm("bench", subject, "--help")
    assert code == 0 and f"Example: lwm bench {subject}" in out
    assert f"`lwm bench {subject}" in README


def test_it_measures_every_attention_in_turns_and_keeps_what_it_found(lwm, tmp_path):
    words = "bench attention --case ring-4-documents-8 --length 64 --repeats 1 --json --out".split()
    code, out, err = lwm(*words, tmp_path)
    assert code == 0, err
    result = json.loads(out)
    records = result["records"]
    assert all(FIELDS <= record.keys() for record in records)
    measured = {(record["backend"], record["direction"]) for record in records}
    assert {(n, d) for n in ("ring", "all-gather", "ulysses") for d in ("forward", "forward+backward")} <= measured
    (refusal,) = [r for r in result["refused"] if r["backend"] == "local"]
    assert "'ring'" in refusal["reason"]
    for record in records:
        assert record["seconds_median"] > 0 and record["temporary_bytes"] > 0 and record["error"] < 1e-4, record
        assert record["attended_pairs"] == 8 * (8 * 9 // 2) and record["devices"] == 4
        ratio = 4 * 4 * 64 * record["attended_pairs"] / record["seconds_median"]
        assert record["flops_per_second"] == pytest.approx(ratio * (1 if record["direction"] == "forward" else 3.5))
    assert json.loads((tmp_path / "attention.json").read_text("utf-8")) == result
    assert "| ring-4-documents-8 | forward | ring |" in (tmp_path / "attention.md").read_text("utf-8")
    assert (tmp_path / "attention.png").stat().st_size > 1000


def test_devices_and_kernels_are_chosen_by_name(lwm):
    words = "bench attention --case causal-8k --backend ring/blockwise --length 32 --devices 2 --repeats 1".split()
    code, out, err = lwm(*words)
    assert code == 0, err
    assert "ring/blockwise" in out and "work max/mean" in out and "1.000" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (("atention",), "Did you mean 'attention'?"),
        (("attention", "--case", "causal-8"), "Did you mean 'causal-8k'?"),
        (("attention", "--backend", "rings"), "Did you mean 'ring'?"),
        (("attention", "--backend", "ring/blockwyse"), "no kernel 'blockwyse'"),
        (("attention", "--case", "documents-32", "--length", "8"), "needs a length of at least 32"),
    ],
)
def test_bad_input_says_what_to_type(lwm, words, said):
    code, _, err = lwm("bench", *words)
    assert code == 2 and said in err


def test_nothing_measured_is_an_error_with_the_reasons(lwm):
    code, _, err = lwm(*"bench attention --case ring-4 --backend local --length 64".split())
    assert code == 2 and "No backend could be measured" in err and "'ring'" in err


def test_a_case_that_takes_too_long_is_reported_with_what_to_change(lwm):
    code, _, err = lwm(*"bench attention --case ring-4 --backend ring --length 64 --limit 1".split())
    assert code == 2 and "not done after 1 s" in err
