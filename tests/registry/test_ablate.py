"""`lwm ablate` at a tiny size: arms see the same documents, differences are paired, and what was asked is kept."""

import json
import sys

import pytest

from lwm_registry import cli
from lwm_registry.ablation import Ablation, Arm, summarised


TINY = """
title = "Tiny"
recipe = "ablation-packing"
baseline = "masked"
measures = ["pictures.loss", "prose.loss"]
arms.masked.overrides = {}
arms.naive.overrides = { "objective.mask" = "none" }
"""
SMALL = (
    "model.width=16", "model.heads=2", "model.kv_heads=2", "model.ffn=16", "model.layers=1", "packer.buffer=1",
    "curriculum.stages.0.steps=2", "curriculum.stages.0.warmup_steps=1", "curriculum.stages.0.rows=1",
    "evaluators.pictures.documents=4", "evaluators.clips.documents=2", "evaluators.prose.windows=2",
)  # fmt: skip


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


def test_it_trains_every_arm_with_every_seed_and_keeps_a_table_and_a_figure(lwm, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ("--seeds", 2, "--out", tmp_path / "out", "--json")
    code, out, err = lwm("ablate", tmp_path / "tiny.toml", *words, *SMALL)
    assert code == 0, err
    found = json.loads(out)
    assert {(r["arm"], r["seed"]) for r in found["records"]} == {(a, s) for a in ("masked", "naive") for s in (0, 1)}
    for seed in (0, 1):
        masked, naive = (r for r in found["records"] if r["seed"] == seed)
        assert masked["documents"] == naive["documents"] > 2 and masked["targets"] == naive["targets"] > 0
        assert masked["measures"] != naive["measures"]
    kept = tmp_path / "out"
    assert json.loads((kept / "ablation-tiny.json").read_text()) == found
    page = (kept / "ablation-tiny.md").read_text()
    assert "| pictures.loss | naive |" in page and "`objective.mask=none`" in page and "lwm ablate" in page
    assert (kept / "ablation-tiny.png").stat().st_size > 1000


def test_differences_are_taken_seed_by_seed():
    """A seed's luck, common to both arms, does not hide a constant difference."""
    ablation = Ablation("A", "r", "one", ("e.x",), {"one": Arm("", {}), "two": Arm("", {})})
    luck = {0: 0.0, 1: 5.0, 2: -3.0}
    records = [
        {"arm": arm, "seed": seed, "measures": {"e.x": value + more}}
        for seed, value in luck.items()
        for arm, more in (("one", 0.0), ("two", 0.5))
    ]
    one, two = summarised(ablation, records)
    assert "difference_mean" not in one and one["std"] > 3
    assert two["difference_mean"] == 0.5 and two["difference_std"] == 0 and two["above"] == 3


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "There is no ablation 'pakcing'. Did you mean 'packing'?"),
        (TINY.replace('"masked"', '"maskd"'), "baseline 'maskd' is none of the arms, masked, naive"),
        (TINY.replace("title", "name"), "an ablation has exactly title, recipe, baseline, measures, arms"),
        ("title", "is not TOML"),
    ],
)
def test_what_is_no_ablation_is_refused_before_anything_trains(lwm, tmp_path, text, message):
    given = "pakcing"
    if text is not None:
        given = tmp_path / "bad.toml"
        given.write_text(text)
    code, out, err = lwm("ablate", given)
    assert code == 2 and not out and message in err.replace("\n", " ")
