"""Event files read back by TensorBoard's own reader: of a run, of one that was killed and resumed, of pictures."""

import math
from pathlib import Path

import pytest

from lwm_core.curriculum import Stage
from lwm_core.evaluate.base import Evaluation
from lwm_core.evaluate.picture import need_figure
from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)
from lwm_trackers.tensorboard import TensorBoardObserver


pytest.importorskip("tensorboard")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def points(folder, tag):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def stage(name):
    return StageStarted(Stage(name, 8, 1e4, 1, 4, 1e-3), 0, "dense")


def step(number, stage="first", **metrics):
    return StepFinished(number, stage, number, 0.5, 8, {"loss": 1 / number, **metrics}, pairs=36, flops=2e6, peak=1e9)


def tell(out, *events, **options):
    observer = TensorBoardObserver(**options)
    for event in events:
        observer.notify(event)
    return observer


def test_scalars_by_stage_and_part(tmp_path):
    recipe = {"seed": 3, "model": {"use": "llama", "width": 32}}
    started = RunStarted(tmp_path, 3, 0, recipe)
    parts = {"loss/vision": 2.0, "loss/length/65-128": 3.0, "gradient_norm": math.nan}
    saved = CheckpointSaved(tmp_path / "step-2", 2)
    tell(tmp_path, started, stage("first"), step(1), step(2, **parts), saved, stage("1M/x"), step(3, "1M/x"),
         RunFinished(tmp_path, 3))  # fmt: skip
    root = tmp_path / "tensorboard"
    assert points(root / "first", "loss") == [(1, 1.0), (2, 0.5)]
    assert points(root / "first", "loss/length/65-128") == [(2, 3.0)]
    assert "gradient_norm" not in read(root / "first").Tags()["scalars"], "what is no number is no point"
    assert [value for _, value in points(root / "first", "speed/utilisation")] == pytest.approx([0.004, 0.004])
    assert [number for number, _ in points(root / "1M-x", "loss")] == [3]
    whole = read(root)
    (text,) = whole.Tensors("recipe/text_summary")
    assert b'"width": 32' in text.tensor_proto.string_val[0]
    (text,) = whole.Tensors("checkpoint/text_summary")
    assert text.step == 2 and b"step-2" in text.tensor_proto.string_val[0]
    (settings,) = read_settings(root)
    assert settings["model.width"].number_value == 32 and settings["model.use"].string_value == "llama"


def read_settings(root):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = read(root).summary_metadata.values()
    contents = [m.plugin_data.content for m in found if m.plugin_data.plugin_name == "hparams"]
    data = [HParamsPluginData.FromString(content) for content in contents]
    return [one.session_start_info.hparams for one in data if one.HasField("session_start_info")]


def test_a_resumed_run_doubles_no_point_and_loses_none(tmp_path):
    killed = (RunStarted(tmp_path, 6, 0), stage("first"), step(1), step(2), CheckpointSaved(tmp_path, 2), step(3))
    observer = tell(tmp_path, *killed, step(4, other=1.0))
    del observer  # no end is told: the process was killed after step 4
    resumed = [step(n) for n in (3, 4, 5, 6)]
    tell(tmp_path, RunStarted(tmp_path, 6, 2), stage("first"), *resumed, RunFinished(tmp_path, 6))
    found = points(tmp_path / "tensorboard" / "first", "loss")
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6]
    assert len(read(tmp_path / "tensorboard").Tensors("recipe/text_summary")) == 1


def test_pictures_and_guarded_steps(tmp_path):
    def draw(path: Path) -> Path:
        need_figure()(figsize=(2, 1)).savefig(path, dpi=100)
        return path

    measured = Evaluated(1, "first", "text", Evaluation("text", (), {"loss": 2.0, "accuracy": {"256": 0.5}}), draw)
    batch = tmp_path / "guard" / "step-2"
    guarded = StepGuarded(2, "first", 2, "skip", "Loss 9 is 4 times the median.", "layer 3", (), (), batch)
    tell(tmp_path, RunStarted(tmp_path, 2, 0), stage("first"), step(1), measured, guarded, RunFinished(tmp_path, 2))
    root = tmp_path / "tensorboard"
    assert points(root, "evaluate/text/accuracy/256") == [(1, 0.5)]
    (image,) = read(root).Images("evaluate/text")
    assert (image.width, image.height) == (200, 100) and image.encoded_image_string[1:4] == b"PNG"
    (text,) = read(root).Tensors("guard/text_summary")
    assert b"skip" in text.tensor_proto.string_val[0] and str(batch).encode() in text.tensor_proto.string_val[0]


def test_fewer_points_on_request(tmp_path):
    steps = [step(n) for n in range(1, 7)]
    tell(tmp_path, RunStarted(tmp_path, 6, 0), stage("first"), *steps, RunFinished(tmp_path, 6), every=3)
    assert [number for number, _ in points(tmp_path / "tensorboard" / "first", "loss")] == [3, 6]
    with pytest.raises(ValueError, match="at least 1"):
        TensorBoardObserver(every=0)
