"""A run that cannot reach its end says so before it starts, and leaves nothing behind."""

import dataclasses

import pytest

from lwm_core.attention import LocalAttention, UnsupportedSite
from lwm_core.curriculum import Stage, StagedCurriculum
from lwm_core.data import BestFitPacker, Documents
from lwm_core.data.balance import Balanced
from lwm_core.layout import Zigzag
from lwm_core.model import TransformerFamily
from lwm_core.pipeline import Pipeline
from lwm_core.text import ByteTokenizer
from lwm_core.train.optimizer import AdamW
from lwm_core.train.stage import stage_stream
from lwm_core.vocab import Modality


GOOD = Stage("good", 32, 1e4, rows=2, steps=1, learning_rate=1e-3, mixture={"words": 1.0})
AUDIO, SMELL = Modality("audio", 10), Modality("smell", 10)


def pipeline(**changes):
    """A pipeline whose second stage is the good one with these changes."""
    family = TransformerFamily(LocalAttention(layout=Zigzag()), width=16, heads=2, kv_heads=1, ffn=16, layers=1)
    return Pipeline(
        family,
        ByteTokenizer(),
        StagedCurriculum((GOOD, dataclasses.replace(GOOD, name="later", **changes))),
        {"words": Documents.of_texts(["Call me Ishmael. " * 9]), "none": Documents(())},
        BestFitPacker(2, buffer=1),
        modalities=(AUDIO, SMELL),
        optimizer=AdamW(accumulate=2),
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence_length": 31}, "multiple of 2, and got 31: use 30 or 32"),
        ({"mesh": (1, 2, 1, 1), "rows": 3}, "3 rows a step do not divide over dp × fsdp = 2"),
        ({"rows": 3}, "3 rows a step do not divide into accumulate = 2"),
        ({"mesh": (1, 1, 1, 64)}, "needs 64 devices and there are 8"),
        ({"mixture": {"wrods": 1.0}}, "draws from 'wrods'; the pipeline's sources are none, words"),
        ({"mixture": {"words": 0.5, "none": 0.5}}, "Source 'none' holds no document"),
        ({"modalities": ("text", "video")}, "needs modality 'video'; this pipeline has text, audio, smell"),
    ],
)
def test_a_later_stage_that_cannot_run_is_refused_before_the_first(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        pipeline(**changes).train(tmp_path / "run")
    assert "'later'" in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert not (tmp_path / "run").exists()


def test_rows_of_a_step_are_shared_out_over_its_ranks():
    some = pipeline(mesh=(2, 2, 1, 2), rows=4)
    streams = [stage_stream(some, index, some.vocabulary_for(some.stages[index])) for index in (0, 1)]
    assert [stream.arrange for stream in streams] == [Balanced(1), Balanced(4)]


def test_an_attention_that_refuses_a_later_mesh_is_heard_before_the_first_stage(tmp_path):
    with pytest.raises(UnsupportedSite, match="1 key heads do not divide over tp=2"):
        pipeline(mesh=(1, 1, 2, 1)).train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ids_that_would_change_their_meaning_are_refused(tmp_path):
    grown = pipeline(modalities=("text", "audio")).train(tmp_path / "audio")
    assert grown.vocabulary.names == ("text", "audio")
    for names in (("text", "smell"), ("text",)):
        stage = dataclasses.replace(GOOD, modalities=names)
        other = dataclasses.replace(grown, curriculum=StagedCurriculum((stage,)))
        with pytest.raises(ValueError, match=r"The weights know the ids text \(258\), audio \(10\)"):
            other.train(tmp_path / "other")


def test_options_of_a_run_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="save_every=-1"):
        dataclasses.replace(pipeline(), save_every=-1)
    with pytest.raises(ValueError, match="do not divide into accumulate = 0"):
        dataclasses.replace(pipeline(), optimizer=AdamW(accumulate=0)).train(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        pipeline().train(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
