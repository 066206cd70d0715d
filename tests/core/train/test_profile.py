"""A real trace, in a process of its own: the steps asked for, files that viewers read, and no crash beside libtpu."""

import gzip
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from lwm_core.train.profile import ProfileObserver


SCRIPT = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from lwm_core.curriculum import Stage
from lwm_core.train.observer import RunFailed, RunStarted, StageStarted, StepFinished
from lwm_core.train.profile import ProfileObserver

def ran(observer, out, numbers):
    observer.notify(RunStarted(out, 6, 0))
    observer.notify(StageStarted(Stage("first", 8, 1e4, 1, 6, 1e-3), 0, "dense"))
    for number in numbers:
        def work(x):
            return x @ x
        work.__name__ = f"work_of_step_{number}"  # so that the trace says which steps it saw
        jax.jit(work)(jnp.ones((64, 64))).block_until_ready()
        observer.notify(StepFinished(number, "first", number, 0.1, 8, {"loss": 1.0}))

out = Path(sys.argv[1])
ran(ProfileObserver(first=3, steps=2), out / "whole", range(1, 7))
short = ProfileObserver(first=1, steps=9)
ran(short, out / "short", [1])
short.notify(RunFailed(ValueError("on purpose"), 1))
if sys.argv[2] == "libtpu":
    from lwm_core.mesh import tpu_devices
    tpu_devices("v5e")
    try:
        ran(ProfileObserver(first=1), out / "never", [1])
    except RuntimeError as error:
        print(error)
"""


def test_the_steps_asked_for_are_traced_and_no_others(tmp_path):
    libtpu = "libtpu" if importlib.util.find_spec("libtpu") else ""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SCRIPT, tmp_path, libtpu]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (planes,) = tmp_path.glob("whole/profile/plugins/profile/*/*.xplane.pb")
    (perfetto,) = tmp_path.glob("whole/profile/plugins/profile/*/perfetto_trace.json.gz")
    names = json.dumps(json.loads(gzip.decompress(perfetto.read_bytes())))
    assert [n for n in range(1, 7) if f"work_of_step_{n}" in names] == [3, 4]
    assert b"work_of_step_3" in planes.read_bytes()
    assert "steps 3 to 4" in done.stderr and "xprof" in done.stderr and "perfetto" in done.stderr
    assert list(tmp_path.glob("short/profile/plugins/profile/*/*.xplane.pb")), "a run that ends sooner closes its trace"
    assert "steps 1 to 1" in done.stderr
    assert not libtpu or "JAX_PLATFORMS=cpu" in done.stdout


def test_numbers_start_at_one():
    with pytest.raises(ValueError, match="from 1"):
        ProfileObserver(first=0)
