"""A step: accumulation adds before it divides, nothing to learn changes nothing, absent parts are left out."""

import io
import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.curriculum import Stage
from lwm_core.model import TransformerFamily
from lwm_core.objective import AbstractObjective, CrossEntropy, Loss, Part
from lwm_core.testing.objective import VOCABULARY, a_batch
from lwm_core.train.jsonl import JsonlObserver
from lwm_core.train.observer import RunStarted, StageStarted, StepFinished
from lwm_core.train.optimizer import AdamW
from lwm_core.train.progress import ProgressObserver
from lwm_core.train.step import init_state, make_step, reported


STAGE = Stage("s", 10, 1e4, 4, 2, 1e-2)


class Odd(AbstractObjective):
    """An outside objective: its own parts, one of them without a target."""

    inner: CrossEntropy = CrossEntropy()

    def __call__(self, model, batch, vocabulary):
        found = self.inner(model, batch, vocabulary)
        odd = batch.weights * (batch.targets % 2)
        part = Part((odd * 2.0).sum(), odd.sum(), (odd > 0).sum(dtype=jnp.int32))
        none = Part(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))
        return Loss(found.total, found.denominator, {"odd/ids": part, "never": none})


def stepped(objective, batch, accumulate=1, steps=1):
    """The state before and after, and what the last step reports."""
    family = TransformerFamily(vocab_size=VOCABULARY.size, width=16, heads=2, kv_heads=1, ffn=24, init_std=0.3)
    optimizer = AdamW().build(STAGE)
    state = init_state(family.init(key=jax.random.key(1)), optimizer)
    before = jax.tree.map(np.array, eqx.filter(state, eqx.is_array))  # the step consumes its state
    step = make_step(objective, optimizer, VOCABULARY, accumulate)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return before, jax.device_get(eqx.filter(state, eqx.is_array)), reported(metrics)


def weighted(batch, weights):
    return eqx.tree_at(lambda b: b.weights, batch, jnp.asarray(weights))


def test_k_micro_batches_equal_one_batch_in_all_that_is_reported():
    """With a micro-batch that is empty and others of uneven weight, which a mean of means would not survive."""
    batch = a_batch(rows=4)
    batch = weighted(batch, batch.weights.at[0].set(0).at[1].mul(7))
    objective = CrossEntropy(modality_weights={"vision": 0.5}, z_loss=1e-3)
    (_, one, told), (_, four, told_four) = (stepped(objective, batch, k) for k in (1, 4))
    assert told.keys() == told_four.keys() and "loss/vision" in told
    for name, value in told.items():
        np.testing.assert_allclose(told_four[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, four)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_without_a_target_changes_nothing(accumulate):
    batch = a_batch()
    before, after, told = stepped(CrossEntropy(), weighted(batch, jnp.zeros_like(batch.weights)), accumulate, steps=2)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert told["loss"] == 0 and told["targets"] == 0 and told["gradient_norm"] == 0 and told["update_norm"] == 0
    assert not [name for name in told if "/" in name]


def test_parts_without_a_target_are_left_out_and_an_outside_objective_has_its_own():
    batch = a_batch()
    batch = weighted(batch, batch.weights * (batch.targets < 20))
    told = stepped(CrossEntropy(), batch)[2]
    assert "loss/text" in told and not {"loss/vision", "tokens/vision"} & told.keys()
    assert all(np.isfinite(value) for value in told.values())
    for group in ("length/", "position/"):
        assert sum(v for k, v in told.items() if k.startswith(f"tokens/{group}")) == told["targets"]
    told = stepped(Odd(), batch)[2]
    assert told["loss/odd/ids"] == 2 and told["tokens/odd/ids"] > 0 and "loss/never" not in told


def test_observers_tell_the_parts(tmp_path, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    parts = {"text": 1.5, "vision": 2.5, "length/129-256": 3.0, "length/65-128": 2.0, "position/9": 1.0}
    metrics = {"loss": 2.0, "targets": 5.0, **{f"loss/{name}": loss for name, loss in parts.items()}}
    nothing = {"loss": 0.0, "targets": 0.0}
    log = JsonlObserver(tmp_path / "m.jsonl")
    for observer in (ProgressObserver(every=0.0), log):
        observer.notify(RunStarted(tmp_path, 2, 0))
        observer.notify(StageStarted(STAGE, 0, "dense"))
        for step, told in ((1, nothing), (2, metrics)):
            observer.notify(StepFinished(step, "s", step, 0.1, 40, told))
    lines = said.getvalue().splitlines()
    assert "no target in this step: nothing changed" in lines[1]
    assert "loss 2.000 (text 1.500, vision 2.500)" in lines[2]
    assert lines[3:] == [
        "stage s, last step, loss by length: 65-128: 2.000, 129-256: 3.000",
        "stage s, last step, loss by position: 9: 1.000",
    ]
    written = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert written[-1]["loss/length/65-128"] == 2.0 and written[-1]["loss/position/9"] == 1.0
