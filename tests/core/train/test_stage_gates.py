"""A tiny run whose gates let one stage go, extend another, and roll a third back; killed anywhere, the same bits."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lwm_core.attention import DenseAttention
from lwm_core.curriculum import Gate, GatedCurriculum, GateFailed, Retry, Stage, StagedCurriculum, StageGates
from lwm_core.data import Documents, SequentialPacker
from lwm_core.evaluate import Perplexity
from lwm_core.model import TransformerFamily
from lwm_core.pipeline import Pipeline
from lwm_core.text import ByteTokenizer
from lwm_core.train.observer import CheckpointSaved, GateDecided, StageStarted, StepFinished


TEXT = Documents.of_texts(["Call me Ishmael. " * 9])
READ = Documents.of_texts([text * 3 for text in ("Call me Ishmael. ", "Some years ago, ", "never mind how long, ")])
STAGE = Stage("learn", 16, 1e4, rows=2, steps=2, learning_rate=3e-2, mixture={"words": 1.0})
STAGES = (
    STAGE,
    dataclasses.replace(STAGE, name="more", steps=1, rope_theta=4e4),
    # So large a rate destroys what was learnt: the loss is worse after it than before.
    dataclasses.replace(STAGE, name="harm", steps=2, learning_rate=1.0),
)
LOSS = {"evaluator": "loss", "measure": "loss"}
GATES = (
    StageGates("learn", (Gate(**LOSS, within=0.0),)),
    # A stage's first step has a learning rate of 0, so that one step makes nothing better and two do.
    StageGates("more", (Gate(**LOSS, within=-0.01),), extensions=3, extend_steps=1),
    StageGates("harm", (Gate(**LOSS, within=0.1, miss="roll-back"),), roll_backs=1, retry=Retry(1e-3, reseed=True)),
)


class Killed(BaseException):
    """The end of the process, as near as one process can come to it."""


@dataclass
class Observed:
    """Keeps every event; raises `Killed` at the first that `kill` picks."""

    kill: Callable[[Any], bool] = lambda event: False
    events: list = field(default_factory=list)

    def notify(self, event):
        self.events.append(event)
        if self.kill(event):
            raise Killed

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def pipeline(observer, gates=GATES, **changes):
    family = TransformerFamily(DenseAttention(), width=8, heads=2, kv_heads=1, ffn=8, layers=1)
    return Pipeline(
        family,
        ByteTokenizer(),
        GatedCurriculum(StagedCurriculum(STAGES), gates),
        {"words": READ},
        SequentialPacker(16),
        evaluators={"loss": Perplexity(TEXT, context=16, windows=2)},
        observers=(observer,),
        save_every=1,
        **changes,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run that nobody kills: (its folder, what was heard)."""
    out, heard = tmp_path_factory.mktemp("gates") / "alone", Observed()
    pipeline(heard).train(out)
    return out, heard


def last_of(out):
    """Every file of the newest checkpoint."""
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in newest.iterdir()}


def test_one_stage_passes_one_is_extended_one_rolled_back(alone):
    out, heard = alone
    said = [(event.stage, event.verdict, event.stage_step) for event in heard.of(GateDecided)]
    assert said == [
        ("learn", "advance", 2), ("more", "extend", 1), ("more", "advance", 2),
        ("harm", "roll-back", 2), ("harm", "advance", 2),
    ]  # fmt: skip
    assert [event.step for event in heard.of(StepFinished)] == [1, 2, 3, 4, 5, 6, 7, 8], "steps only count up"
    kept = json.loads(last_of(out)["manifest.json"])["gates"]["decisions"]
    assert [(d["stage"], d["verdict"], d["stage_step"]) for d in kept] == said
    harm = heard.of(GateDecided)[3]
    (evidence,) = harm.evidence
    assert evidence["value"] > evidence["before"] + 0.1 == pytest.approx(evidence["most"]) and harm.more == 2
    rates = [event.stage.learning_rate for event in heard.of(StageStarted) if event.stage.name == "harm"]
    assert rates == pytest.approx([1.0, 1e-3]), "the second attempt is made with the declared change"
    losses = [event.metrics["loss"] for event in heard.of(StepFinished) if event.stage == "harm"]
    assert losses[0] != losses[2], "and sees its data in another order"


KILLS = {
    "between a stage's last save and its decision": lambda event: (
        isinstance(event, CheckpointSaved) and event.step == 3
    ),
    "after a roll-back was written down": lambda event: getattr(event, "verdict", "") == "roll-back",
    "in the second attempt": lambda event: isinstance(event, CheckpointSaved) and event.step == 7,
}


def test_killed_at_its_decisions_the_run_ends_with_the_same_bits(alone, tmp_path):
    out, _ = alone
    for index, (when, kill) in enumerate(KILLS.items()):
        run = pipeline(Observed(kill))
        with pytest.raises(Killed):
            run.resume(tmp_path) if index else run.train(tmp_path)
        assert last_of(tmp_path), when
    last = Observed()
    pipeline(last).resume(tmp_path)
    assert [event.verdict for event in last.of(GateDecided)] == ["advance"]
    assert last_of(tmp_path) == last_of(out)


def test_a_stage_that_never_passes_stops_the_run_and_says_why(tmp_path):
    gates = (StageGates("learn", (Gate(**LOSS, at_most=0.0),)),)
    heard = Observed()
    with pytest.raises(GateFailed, match=r"'learn' does not pass its gates: loss.loss is 5.*must be at most 0"):
        pipeline(heard, gates).train(tmp_path)
    assert json.loads(last_of(tmp_path)["manifest.json"])["gates"]["decisions"][0]["verdict"] == "fail"


@pytest.mark.parametrize(
    "gate, words",
    [
        (Gate("lsos", "loss", at_most=1.0), "evaluator 'lsos'; the evaluators are loss. Did you mean 'loss'"),
        (Gate("loss", "los", at_most=1.0), "measures no 'los': it has context, windows, tokens, loss, perplexity"),
    ],
)
def test_a_gate_on_nothing_is_refused_before_a_step(tmp_path, gate, words):
    heard = Observed()
    with pytest.raises(ValueError, match=words):
        pipeline(heard, (StageGates("learn", (gate,)),)).train(tmp_path)
    assert not heard.of(StepFinished)
