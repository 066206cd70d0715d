"""Conformance kit for curricula: `check_curriculum(curriculum)`. Owns no test runner and needs none."""

import json
from dataclasses import asdict

from lwm_core.curriculum import Curriculum, Stage


def check_curriculum(curriculum: Curriculum) -> None:
    """Raises `AssertionError` unless there are valid stages, named once each, the same when asked again.

    A stage survives the trip to plain JSON data and back, which is how recipes and checkpoints hold it.
    """
    assert isinstance(curriculum, Curriculum), f"{type(curriculum).__name__} has no stages."
    stages = curriculum.stages
    assert isinstance(stages, tuple) and stages, "`stages` is not a tuple with at least one stage."
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names), f"Stages share a name: {names}."
    assert curriculum.stages == stages, "Asked again, the curriculum gives other stages."
    grown: set[str] = set()
    for stage in stages:
        assert isinstance(stage, Stage), f"{stage!r} is not a Stage."
        assert Stage.of(json.loads(json.dumps(asdict(stage)))) == stage, f"{stage.name} does not survive JSON."
        assert stage.total_tokens == stage.rows * stage.sequence_length * stage.steps, f"{stage.name}: tokens."
        assert grown <= set(stage.modalities), f"{stage.name} drops {sorted(grown - set(stage.modalities))}."
        grown = set(stage.modalities)
