"""A real trace: of the steps that were asked for, in files that the viewers read, and closed when a run fails."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from lwm_core.curriculum import Stage
from lwm_core.train.observer import RunFailed, RunStarted, StageStarted, StepFinished
from lwm_core.train.profile import ProfileObserver


def start(observer, out):
    observer.notify(RunStarted(out, 6, 0))
    observer.notify(StageStarted(Stage("first", 8, 1e4, 1, 6, 1e-3), 0, "dense"))


def steps(observer, numbers):
    """Runs a program of its own name in each step, so that the trace says which steps it saw."""
    for number in numbers:

        def work(x):
            return x @ x

        work.__name__ = f"work_of_step_{number}"
        jax.jit(work)(jnp.ones((64, 64))).block_until_ready()
        observer.notify(StepFinished(number, "first", number, 0.1, 8, {"loss": 1.0}))


def test_the_steps_asked_for_are_in_the_trace_and_no_others(tmp_path, capsys):
    observer = ProfileObserver(first=3, steps=2)
    start(observer, tmp_path)
    steps(observer, range(1, 7))
    (planes,) = tmp_path.glob("profile/plugins/profile/*/*.xplane.pb")
    (perfetto,) = tmp_path.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    names = json.dumps(json.loads(gzip.decompress(perfetto.read_bytes())))
    assert [n for n in range(1, 7) if f"work_of_step_{n}" in names] == [3, 4]
    assert b"work_of_step_3" in planes.read_bytes()
    said = capsys.readouterr().err
    assert "steps 3 to 4" in said and str(tmp_path / "profile") in said and "xprof" in said and "perfetto" in said


def test_a_run_that_ends_sooner_closes_its_trace(tmp_path, capsys):
    observer = ProfileObserver(first=1, steps=9)
    start(observer, tmp_path)
    steps(observer, [1])
    observer.notify(RunFailed(ValueError("on purpose"), 1))
    assert list(tmp_path.glob("profile/plugins/profile/*/*.xplane.pb")) and "steps 1 to 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="from 1"):
        ProfileObserver(first=0)
