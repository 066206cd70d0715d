"""`benchmarks/gpu.py` on a CPU: every figure's definition, one figure and one check end to end, crashes and hangs."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import BlockwiseKernel, Placement, TokenCoords, Visibility, attend


BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    return gpu


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_measure

    return gpu_measure


def test_a_dry_run_measures_keeps_and_goes_on_past_who_is_refused(tmp_path):
    out = tmp_path / "gpu.json"
    words = [sys.executable, str(BENCHMARKS / "gpu.py"), "--dry-run", "--out", str(out), "--only", "window-4k-64k"]
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    result = json.loads(out.read_text("utf-8"))
    (figure,) = result["figures"]
    ours = {r["direction"]: r for r in figure["records"] if r["contender"] == "pallas-gpu"}
    assert set(ours) == {"forward", "backward", "forward+backward"}
    assert all(r["error"] < 0.02 and r["seconds_median"] > 0 and r["flops_per_second"] > 0 for r in ours.values())
    failed = [r for r in figure["records"] if r["contender"] == "tokamax-direct"]
    assert len(failed) == 3 and all("needs an NVIDIA GPU" in r["failed"] for r in failed)
    (target,) = figure["targets"]
    assert target["least"] == 5.0 and target["reached"] is None
    assert result["run"]["kernel"] == "blockwise, in a dry run" and result["run"]["versions"]["jax"]


def test_every_figure_names_what_exists(gpu, measuring):
    """Contenders, options, targets and passes fit together."""
    for figure in map(gpu.tiny, gpu.FIGURES):
        names = {name for target in figure.targets for name in (target.contender, *target.over)}
        assert names <= set(figure.contenders), figure.case.name
        assert {target.direction for target in figure.targets} <= set(figure.passes)
        for name in figure.contenders:
            if name.endswith("-direct"):
                continue
            options = {word.split("=")[0] for word in name.split()[1:]}
            assert options <= set(measuring.HopperKernel.__dataclass_fields__), name
    assert len({figure.case.name for figure in gpu.FIGURES}) == len(gpu.FIGURES)


@pytest.mark.slow
def test_every_figure_and_check_runs_in_small(tmp_path, gpu):
    out = tmp_path / "gpu.json"
    words = [sys.executable, str(BENCHMARKS / "gpu.py"), "--dry-run", "--budget", "3600", "--out", str(out)]
    subprocess.run(words, check=True, capture_output=True, timeout=3600)
    result = json.loads(out.read_text("utf-8"))
    assert [figure["name"] for figure in result["figures"]] == [figure.case.name for figure in gpu.FIGURES]
    assert all(record.get("passed") for record in result["checks"]), result["checks"]
    for figure in result["figures"]:
        for record in figure["records"]:
            assert "seconds_median" in record or record["contender"].endswith("-direct"), record


def test_targets_are_ratios_to_the_fastest(gpu):
    records = [
        {"contender": "pallas-gpu", "direction": "forward", "seconds_median": 2.0},
        {"contender": "cudnn-direct", "direction": "forward", "seconds_median": 1.9},
        {"contender": "tokamax-direct", "direction": "forward", "seconds_median": 4.0},
        {"contender": "tokamax-direct", "direction": "backward", "failed": "no"},
    ]
    forward, backward = gpu.ratios(gpu.FIGURES[0], records)
    assert forward["reached"] == pytest.approx(0.95) and forward["met"] is False
    assert backward["reached"] is None and backward["met"] is None


def test_who_ends_the_process_is_left_out(gpu, monkeypatch):
    tries = []

    def apart(what, arguments, silence):
        tries.append(arguments[0].contenders)
        if "cudnn-direct" in tries[-1]:
            return [{"contender": "pallas-gpu", "seconds_median": 1.0}], "cudnn-direct", "exit code -11"
        return [{"contender": "pallas-gpu", "seconds_median": 2.0}], None, ""

    monkeypatch.setattr(gpu, "_apart", apart)
    records = gpu.run_figure(gpu.FIGURES[0], True)
    assert tries == [("pallas-gpu", "cudnn-direct", "tokamax-direct"), ("pallas-gpu", "tokamax-direct")]
    assert [r.get("failed") for r in records] == ["exit code -11", None]


def test_chunks_of_keys_are_one_attention(measuring):
    """Outputs and gradients of the simulated ring are those of one call."""
    arrays = [jax.random.normal(key, (1, 50, 2, 8)) for key in jax.random.split(jax.random.key(0), 4)]
    at, kernel = TokenCoords.of_rows(1, 50), BlockwiseKernel(16, 16)

    def grads(schedule):
        def loss(q, k, v):
            return (attend(schedule, Placement({}), q, k, v, at, at, Visibility(window=20)) * arrays[3]).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(*arrays[:3])

    for got, want in zip(*(jax.tree.leaves(grads(s)) for s in (measuring.Chunked(kernel, 4), kernel)), strict=True):
        assert jnp.allclose(got, want, atol=1e-4)


def test_the_checks_pass_and_report(measuring, monkeypatch):
    monkeypatch.setattr(measuring, "_CHECKS", tuple(c._replace(length=min(c.length, 60), keys=c.keys and 60)
                                                    for c in measuring._CHECKS))  # fmt: skip
    monkeypatch.setattr(measuring, "_HEADS", (64,))
    told = []
    measuring.check(lambda *words: told.append(words), True)
    records = [value for kind, value in told if kind == "record"]
    assert len(records) == 6 and all(record.get("passed") for record in records), records
