"""The demo's schedule conforms and answers to its options."""

import pytest

from lwm_core.testing.curriculum import check_curriculum
from lwm_stages.demo import DemoCurriculum


def test_the_demo_conforms():
    check_curriculum(DemoCurriculum())


def test_context_and_theta_grow_and_vision_joins_last():
    stages = DemoCurriculum().stages
    text = [s for s in stages if s.modalities == ("text",)]
    assert stages[: len(text)] == tuple(text) and len(stages) - len(text) == 2
    assert [s.sequence_length for s in text] == sorted({s.sequence_length for s in text})
    assert [s.rope_theta for s in text] == sorted({s.rope_theta for s in text})


def test_options_change_one_thing_each():
    stages = DemoCurriculum(vision_steps=(7, 8), vision_mixtures=({"clip": 1.0},) * 2).stages
    assert [s.steps for s in stages[-2:]] == [7, 8]
    assert stages[:-2] == DemoCurriculum().stages[:-2]


def test_uneven_options_are_named():
    with pytest.raises(ValueError, match="text_lengths has 1, text_thetas has 3"):
        DemoCurriculum(text_lengths=(512,))
