"""The guard on real runs: it names the layer and the documents, changes nothing, and stops, skips or goes back."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import DenseAttention
from lwm_core.curriculum import Stage, StagedCurriculum
from lwm_core.data import Documents, SequentialPacker
from lwm_core.model import TransformerFamily
from lwm_core.pipeline import Pipeline
from lwm_core.text import ByteTokenizer
from lwm_core.train.culprit import rows_in
from lwm_core.train.feed import to_batch
from lwm_core.train.guard import Diverged, Guard, GuardState
from lwm_core.train.jsonl import JsonlObserver
from lwm_core.train.keep import restored_moments
from lwm_core.train.observer import CheckpointSaved, RunStarted, StepFinished, StepGuarded
from lwm_core.train.optimizer import AdamW
from lwm_core.train.stage import stage_stream
from lwm_core.train.step import Limited, init_state, make_step
from lwm_core.train.stopping import Stop, Stopped


# With seed 3 the odd one comes in step 8, when all the others are nearly learnt by heart.
TEXTS = Documents.of_texts(["a" * 14] * 22 + ["q~Z|" * 3 + "xy"])
STAGE = Stage("learn", 16, 1e4, rows=2, steps=10, learning_rate=0.1, mixture={"words": 1.0})
SPIKE = Guard(spike=1.5, least=2, window=2)
BACK = replace(SPIKE, on_spike="roll-back")


class Killed(BaseException):
    """The end of the process, as near as one process can come to it."""


@dataclass
class Observed:
    """Keeps every event; calls `then` at the first that `kill` picks."""

    kill: Callable[[Any], bool] = lambda event: False
    then: Callable[[], None] | None = None
    events: list = field(default_factory=list)

    def notify(self, event):
        self.events.append(event)
        if self.kill(event):
            if self.then is None:
                raise Killed
            self.then()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def pipeline(guard, observer=None, *, accumulate=1, weights=None, **stage):
    family = TransformerFamily(DenseAttention(), width=8, heads=2, kv_heads=1, ffn=8, layers=2)
    return Pipeline(
        family,
        ByteTokenizer(),
        StagedCurriculum((replace(STAGE, **stage),)),
        {"words": TEXTS},
        SequentialPacker(16),
        optimizer=AdamW(accumulate=accumulate),
        observers=(JsonlObserver(), observer or Observed()),
        guard=guard,
        weights=weights,
        save_every=3,
        seed=3,
    )


def planted(folder, value, layer=1):
    """Weights on disk with this value in two arrays of one layer."""
    some = pipeline(None)
    arrays = lambda model: (model.blocks.ffn.up, model.blocks.ffn.down)  # noqa: E731
    bad = tuple(array.at[layer].set(value) for array in arrays(some.model))
    some.__dict__["model"] = eqx.tree_at(arrays, some.model, bad)
    return some.save(folder)


def last_of(out):
    """Every file of the newest checkpoint."""
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in newest.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Every program of this module is kept, small as it is: most runs here have the same."""
    name, kept = "jax_persistent_cache_min_compile_time_secs", jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, kept)


@pytest.fixture(scope="module")
def skipped(tmp_path_factory):
    """The run that skips its odd batch: (its folder, what was heard)."""
    out, heard = tmp_path_factory.mktemp("guard") / "skipped", Observed()
    pipeline(SPIKE, heard).train(out)
    return out, heard


@pytest.fixture(scope="module")
def back(tmp_path_factory):
    """The run that goes back at its odd batch: (its folder, what was heard)."""
    out, heard = tmp_path_factory.mktemp("guard") / "back", Observed()
    pipeline(BACK, heard).train(out)
    return out, heard


def test_limits_and_verdicts():
    guard = Guard("skip", spike=2.0, least=2, window=3, most=2)
    state = GuardState()
    for loss in (9.0, 3.0, 4.0, 5.0):
        state = guard.after(state, {"loss": loss, "targets": 8.0, "refused": 0.0})
    assert state.losses == (3.0, 4.0, 5.0) and guard.limit(state) == 8.0
    assert guard.limit(GuardState((1.0,))) == math.inf
    jump = {"loss": 9.0, "gradient_norm": 1.0, "targets": 8.0, "refused": 1.0}
    assert guard.verdict(state, jump)[0] == "skip"
    assert guard.verdict(state, jump | {"loss": math.nan})[0] == "skip"
    state = guard.after(state, jump)
    assert guard.verdict(state, jump)[0] == "stop" and state.losses == (3.0, 4.0, 5.0)
    again = replace(state, roll_backs=2, passed=7, decisions=({"step": 1},))
    assert GuardState.of_data(json.loads(json.dumps(again.data()))) == again
    assert again.following() == GuardState(decisions=({"step": 1},))
    assert Guard(spike=2.0, least=2, on_spike="roll-back", roll_backs=2).verdict(again, jump)[0] == "stop"
    for wrong in ({"spike": 0.5}, {"least": 0}, {"window": 1}, {"roll_backs": 0}, {"on_spike": "stop"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Guard(**wrong)


def test_a_batch_that_jumps_is_named_and_skipped_and_changes_nothing(skipped):
    out, heard = skipped
    (guarded,) = heard.of(StepGuarded)
    assert (guarded.step, guarded.verdict, guarded.layer) == (8, "skip", "no array: the loss alone")
    assert {d["name"] for d in guarded.documents} >= {"text:22"}, "the odd one"
    steps = heard.of(StepFinished)
    assert [step.step for step in steps if step.metrics["refused"]] == [8]
    assert steps[7].metrics["update_norm"] == 0 and steps[6].metrics["update_norm"] > 0
    assert steps[8].metrics["loss"] < steps[6].metrics["loss"]
    (row, *_) = rows_in(guarded.batch)
    assert row.tokens.shape == (16,)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["verdict"] for line in lines if line["event"] == "StepGuarded"] == ["skip"]


def test_a_roll_back_goes_on_from_the_checkpoint_with_the_rows_after(back, tmp_path):
    out, heard = back
    (guarded,) = heard.of(StepGuarded)
    assert (guarded.step, guarded.verdict, guarded.to_step, guarded.more) == (8, "roll-back", 6, 2)
    assert guarded.rows == (12, 16), "of steps 7 and 8"
    assert [(s.step, s.stage_step) for s in heard.of(StepFinished)][6:] == [
        (7, 7), (8, 8), (9, 7), (10, 8), (11, 9), (12, 10),
    ]  # fmt: skip
    (decision,) = json.loads(last_of(out)["manifest.json"])["guard"]["decisions"]
    assert (decision["step"], decision["to_step"], decision["rows"]) == (8, 6, [12, 16])
    assert decision["batch"] == guarded.batch.name and "above" in decision["reason"]
    # The same by hand: the weights and moments after step 6, and the stream after step 8.
    some = pipeline(None)
    optimizer, saved = some.optimizer.build(STAGE), out / "checkpoints" / "step-00000006"
    state = init_state(some.restored(saved), optimizer)
    state = state._replace(moments=restored_moments(some, saved, state.moments))
    step = make_step(some.objective, optimizer, some.vocabulary)
    with stage_stream(some, 0, some.vocabulary) as stream:
        at = stream.init()
        for number in range(12):
            at, rows = stream.next(at)
            if number >= 8:
                batch = to_batch(rows, state.model.attention.layout)
                state, _ = step(state, Limited(batch, jnp.float32(jnp.inf)))
    end = some.restored(out / "checkpoints" / "step-00000012")
    assert eqx.tree_equal(eqx.filter(state.model, eqx.is_array), eqx.filter(end, eqx.is_array))


KILLS = {
    "after the refused step": lambda event: isinstance(event, StepFinished) and event.step == 8,
    "when the decision is taken and not yet saved": lambda event: isinstance(event, StepGuarded),
    "when it is saved": lambda event: isinstance(event, CheckpointSaved) and event.step == 8,
    "in the steps after it": lambda event: isinstance(event, StepFinished) and event.step == 10,
}


@pytest.mark.parametrize("name", ["skipped", "back"])
def test_killed_around_its_decision_a_run_ends_with_the_same_bits(request, name, tmp_path):
    guard, (out, _) = {"skipped": SPIKE, "back": BACK}[name], request.getfixturevalue(name)
    for index, kill in enumerate(kill for when, kill in KILLS.items() if name == "back" or "saved" not in when):
        run = pipeline(guard, Observed(kill))
        with pytest.raises(Killed):
            run.resume(tmp_path) if index else run.train(tmp_path)
    pipeline(guard).resume(tmp_path)
    assert last_of(tmp_path) == last_of(out)


def test_told_to_stop_before_it_goes_back_a_run_ends_with_the_same_bits(back, tmp_path):
    """The checkpoint that stopping makes is one more than the run alone has, and nothing goes back to it."""
    stop = Stop()
    asks = Observed(lambda event: isinstance(event, StepFinished) and event.step == 7, stop.ask)
    with pytest.raises(Stopped):
        pipeline(BACK, asks).train(tmp_path, stop=stop)
    heard = Observed()
    pipeline(BACK, heard).resume(tmp_path)
    assert [(event.steps, event.done) for event in heard.of(RunStarted)] == [(10, 7)]
    assert [event.to_step for event in heard.of(StepGuarded)] == [6]
    assert last_of(tmp_path) == last_of(back[0])


def test_what_no_other_batch_mends_stops_after_so_many_roll_backs(tmp_path):
    weights = planted(tmp_path / "bad", jnp.inf)
    heard = Observed()
    with pytest.raises(Diverged, match=r"rolled back 2 times.*blocks.ffn.up of layer 1; .*step-00000003.npz"):
        pipeline(Guard("roll-back", roll_backs=2), heard, weights=weights).train(tmp_path / "run")
    told = [(event.verdict, event.to_step, event.rows) for event in heard.of(StepGuarded)]
    assert told == [("roll-back", 0, (0, 2)), ("roll-back", 1, (2, 4)), ("stop", None, None)]
    assert {event.tensors for event in heard.of(StepGuarded)} == {("blocks.ffn.up", "blocks.ffn.down")}


def test_an_absurd_learning_rate_is_found_in_a_layer_micro_batch_by_micro_batch(tmp_path):
    heard = Observed()
    with pytest.raises(Diverged, match="refused step number 2 in a row. It began in layer"):
        pipeline(Guard("skip", most=2), heard, accumulate=2, learning_rate=1e30).train(tmp_path)
    assert [event.verdict for event in heard.of(StepGuarded)] == ["skip", "stop"]


def test_what_overflows_forwards_is_found_in_its_layer_on_a_mesh(tmp_path):
    """Every weight is finite here, and every device has a piece of each."""
    weights = planted(tmp_path / "large", 3e38)
    heard = Observed()
    with pytest.raises(Diverged, match="It began in layer 1, forwards"):
        pipeline(Guard(), heard, accumulate=2, weights=weights, rows=4, mesh=(1, 2, 1, 2)).train(tmp_path / "run")
    (guarded,) = heard.of(StepGuarded)
    assert {d["row"] for d in guarded.documents} == {0, 1, 2, 3}
    assert all(d["source"] == "words" for d in guarded.documents)


def test_on_a_mesh_a_run_goes_back_as_on_one_device(back, tmp_path):
    heard = Observed()
    pipeline(BACK, heard, mesh=(1, 2, 1, 2)).train(tmp_path)
    alone = back[1]
    (one,), (other,) = alone.of(StepGuarded), heard.of(StepGuarded)
    assert (one.step, one.to_step, one.rows) == (other.step, other.to_step, other.rows)
    losses = [[step.metrics["loss"] for step in run.of(StepFinished)] for run in (alone, heard)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skipped", "back"])
def test_killed_outright_around_its_decision_a_run_ends_with_the_same_bits(request, name, tmp_path):
    """The system's own kill, of processes of their own."""
    guard, (out, _) = {"skipped": "SPIKE", "back": "BACK"}[name], request.getfixturevalue(name)
    for index, when in enumerate(when for when in KILLS if name == "back" or "saved" not in when):
        program = (
            "import os, signal, test_guard as t\n"
            f"seen = t.Observed(t.KILLS[{when!r}], lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
            f"run = t.pipeline(t.{guard}, seen)\n"
            f"run.{'resume' if index else 'train'}({str(tmp_path)!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, timeout=300)
        assert done.returncode == -signal.SIGKILL, when
    pipeline(SPIKE if name == "skipped" else BACK).resume(tmp_path)
    assert last_of(tmp_path) == last_of(out)
