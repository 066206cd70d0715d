"""The guard on real runs: it names the layer and the documents, changes nothing, and goes on or stops as it is told."""

import dataclasses
import json
import math

import equinox as eqx
import jax.numpy as jnp
import pytest

from lwm_core.train.culprit import rows_in
from lwm_core.train.guard import Diverged, Guard, GuardState
from lwm_registry import compose


def ran(out, guard, *, plant=None, **stage):
    """The events of a run of one stage, and the error it ended by."""
    options = {f"curriculum.stages.0.{name}": value for name, value in stage.items()}
    pipeline = dataclasses.replace(compose("tiny-text", {"guard": guard, **options}), sign=None)
    if plant is not None:
        pipeline.__dict__["model"] = plant(pipeline.model)  # in place of fresh weights
    error = None
    try:
        pipeline.train(out, until=pipeline.stages[0].name)
    except Diverged as raised:
        error = raised
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {kind: [e for e in events if e["event"] == kind] for kind in ("StepGuarded", "StepFinished")}, error


def test_what_is_planted_in_a_layer_is_found_there(tmp_path):
    def plant(model):
        return eqx.tree_at(lambda m: m.blocks.ffn.up, model, model.blocks.ffn.up.at[1, 0, 0].set(jnp.inf))

    events, error = ran(tmp_path, {}, plant=plant)
    (guarded,) = events["StepGuarded"]
    assert error is not None and guarded["layer"] in str(error)
    assert guarded["layer"] == "the weights: blocks.ffn.up of layer 1" and guarded["tensors"] == ["blocks.ffn.up"]
    assert all(d["source"] == "book" and "tiny.txt" in d["name"] for d in guarded["documents"])
    rows = rows_in(tmp_path / "guard" / "step-00000001.npz")
    assert len(rows) == 4 and rows[0].tokens.shape == (64,)


def test_an_absurd_learning_rate_is_skipped_and_changes_nothing(tmp_path):
    events, error = ran(tmp_path, {"nonfinite": "skip"}, learning_rate=1e30)
    refused = [step for step in events["StepFinished"] if step["refused"]]
    assert error is None and len(refused) == len(events["StepGuarded"]) >= 1
    assert {step["update_norm"] for step in refused} == {0.0}
    assert events["StepGuarded"][0]["layer"].startswith("layer")


def test_limits_and_verdicts():
    guard = Guard("skip", spike=2.0, least=2, window=3, most=2)
    state = GuardState()
    for loss in (9.0, 3.0, 4.0, 5.0):
        state = guard.after(state, {"loss": loss, "targets": 8.0, "refused": 0.0})
    assert state.losses == (3.0, 4.0, 5.0) and guard.limit(state) == 8.0
    assert guard.limit(GuardState((1.0,))) == math.inf
    jump = {"loss": 9.0, "gradient_norm": 1.0, "targets": 8.0, "refused": 1.0}
    assert guard.verdict(state, jump)[0] == "skip"
    state = guard.after(state, jump)
    assert guard.verdict(state, jump)[0] == "stop" and state.losses == (3.0, 4.0, 5.0)
    assert GuardState.of_data(json.loads(json.dumps(state.data()))) == state
    with pytest.raises(ValueError, match="above 1"):
        Guard(spike=0.5)
