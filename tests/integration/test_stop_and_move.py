"""A run that is stopped in the middle of a background save goes on on another mesh, and loses the same way."""

import numpy as np
import pytest

from lwm_core.checkpoint import CheckpointError
from lwm_core.train.observer import CheckpointSaved, StepFinished
from lwm_core.train.stopping import Stop, Stopped
from lwm_registry import compose, load


STEPS = 6
STAGE = {"name": "one", "sequence_length": 32, "rows": 4, "steps": STEPS, "learning_rate": 1e-2, "rope_theta": 1e4,
         "mixture": {"words": 1.0}}  # fmt: skip
WORDS = [{"spans": [{"modality": "text", "content": f"{n} bottles on the wall " * 3}]} for n in range(9)]


class Heard:
    """Keeps events, and asks to stop after a step."""

    def __init__(self, stop=None, after=None):
        self.losses, self.saved, self.stop, self.after = {}, [], stop, after

    def notify(self, event):
        if isinstance(event, StepFinished):
            self.losses[event.step] = event.metrics["loss"]
            if event.step == self.after:
                self.stop.ask()
        elif isinstance(event, CheckpointSaved):
            assert (event.path / "manifest.json").exists(), "announced before it is whole"
            self.saved.append(event.step)


def pipeline(mesh, heard):
    from dataclasses import replace

    made = compose(
        {
            "tokenizer": "bytes",
            "model": {"use": "llama", "width": 64, "layers": 2, "heads": 4, "kv_heads": 4, "ffn": 128},
            "attention": "ring",
            "packer": "sequential",
            "checkpoint": "orbax",
            "save_every": 2,
            "sources": {"words": {"use": "documents", "documents": WORDS}},
            "curriculum": {"use": "staged", "stages": [STAGE | {"mesh": mesh}]},
        }
    )
    return replace(made, observers=(heard,))


def test_a_run_goes_on_on_another_mesh(tmp_path):
    from dataclasses import replace

    whole = Heard()
    pipeline([1, 1, 1, 1], whole).train(tmp_path / "whole")
    stop = Stop()
    first = Heard(stop, 3)
    with pytest.raises(Stopped) as stopped:
        pipeline([1, 2, 1, 2], first).train(tmp_path / "moved", stop=stop)
    assert stopped.value.step == 3 and stopped.value.code == 143 and first.saved == [2, 3]
    then = Heard()
    moved = load(tmp_path / "moved", {"curriculum.stages.0.mesh": [2, 1, 2, 1]})
    replace(moved, observers=(then,)).resume(tmp_path / "moved")
    assert list(then.losses) == [4, 5, 6]
    losses = first.losses | then.losses
    np.testing.assert_allclose([losses[n] for n in whole.losses], list(whole.losses.values()), atol=1e-5, rtol=0)


def test_a_checkpoint_of_another_model_is_refused_before_a_step(tmp_path):
    pipeline([1, 1, 1, 1], Heard()).train(tmp_path)
    with pytest.raises(CheckpointError, match=r"float32\[.*model\.ffn = 128, not 96"):
        load(tmp_path, {"model.ffn": 96}).resume(tmp_path)
