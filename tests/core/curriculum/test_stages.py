"""A stage is valid or refused with a sentence; a curriculum names each stage once."""

from dataclasses import asdict, replace

import pytest

from lwm_core.curriculum import Stage, StagedCurriculum
from lwm_core.testing.curriculum import check_curriculum


STAGE = Stage("a", 512, 1e4, rows=2, steps=10, learning_rate=1e-3, mixture={"book": 0.7, "clip": 0.3})


def test_stages_given_as_data_conform():
    plain = asdict(replace(STAGE, name="b", mesh=(1, -1, 1, 2)))
    curriculum = StagedCurriculum((STAGE, Stage.of(plain)))
    check_curriculum(curriculum)
    assert curriculum.stages[1].mesh == (1, -1, 1, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sequence_lenght": 4}, "Did you mean 'sequence_length'"),
        ({"mixture": {"book": 0.7, "clip": 0.2}}, "book = 0.7, clip = 0.2 sum to 0.9"),
        ({"mixture": {"book": 1.2, "clip": -0.2}}, "above 0"),
        ({"steps": 0}, "steps=0"),
        ({"schedule": "cosin"}, "constant or cosine"),
        ({"warmup_steps": 11}, "warmup_steps=11 of 10"),
        ({"min_learning_rate": 1.0}, "min_learning_rate=1.0"),
        ({"mesh": (1, 0, 1, 1)}, "mesh"),
    ],
)
def test_a_stage_that_cannot_run_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Stage.of(asdict(STAGE) | change)


def test_missing_fields_and_doubled_names_are_named():
    with pytest.raises(ValueError, match="lacks rows, steps"):
        Stage.of({"name": "a", "sequence_length": 8, "rope_theta": 1e4, "learning_rate": 1e-3})
    with pytest.raises(ValueError, match="Two stages are called 'a'"):
        StagedCurriculum((STAGE, STAGE))
    with pytest.raises(ValueError, match="at least one"):
        StagedCurriculum(())
