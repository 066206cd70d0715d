"""Conformance kit for trainers: `check_trainer(trainer)`. Owns no test runner and needs none."""

import tempfile
from pathlib import Path

from lwm_core.train.trainer import Trainer


def check_trainer(trainer: Trainer) -> None:
    """Raises `AssertionError` unless the trainer keeps its contract. It trains three times: give one of few steps.

    A run that stopped after one step and went on makes the bytes of one that did not stop; a run that is done stays
    as it is; a folder that holds a run is refused.
    """
    assert isinstance(trainer, Trainer), f"{type(trainer).__name__} is no Trainer."
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = Path(folder, "whole"), Path(folder, "stopped")
        made = trainer.train(whole)
        assert made.is_file() and whole in made.parents, f"train gives {made}, which is no file of its run."
        wanted = made.read_bytes()
        trainer.train(stopped, until=1)
        assert trainer.resume(stopped).read_bytes() == wanted, "A run that was stopped and resumed made another file."
        assert trainer.resume(stopped).read_bytes() == wanted, "A run that was done changed when it was resumed."
        try:
            trainer.train(whole)
        except FileExistsError:
            return
        raise AssertionError("train begins anew in the folder of another run.")
