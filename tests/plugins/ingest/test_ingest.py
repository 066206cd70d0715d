"""`lwm ingest`: the same bytes whatever happens on the way; every bad file named, explained and counted."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lwm_core.vision import PatchMeanFamily
from lwm_core.vision.video import Sampling, read_video
from lwm_ingest import ingest as run
from lwm_ingest.ingest import Options, ingest


ROOT = Path(__file__).parents[3]
CLIP = ROOT / "assets" / "clip" / "big_buck_bunny.mp4"
SMALL = ROOT / "assets" / "vqgan" / "small.safetensors"
TOY = PatchMeanFamily(frame=16, patch=8).init(key=jax.random.key(0))
COMMAND = (sys.executable, "-c", "from lwm_registry.cli import main; main()", "ingest")


def picture(path, shade=0, size=(24, 20), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 90, 10)).save(path, **how)
    return path


def ingested(folder, tmp_path, out="out", options=None, **how):
    how = {"cache": tmp_path / "cache", **how}
    return ingest(folder, tmp_path / out, how.pop("tokenizer", TOY), options or Options(), **how)


def rows(out):
    return [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def bytes_of(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture
def folder(tmp_path):
    """The clip with its captions, four pictures of which two are one, and a file that is none."""
    made = tmp_path / "in"
    for at, name in enumerate(("b/one.png", "b/two.png", "a.jpg")):
        picture(made / name, 40 * at)
    shutil.copy(made / "b" / "one.png", made / "z.png")
    (made / "b" / "two.txt").write_text("the second\n")
    (made / "notes.md").write_text("mine")
    shutil.copy(CLIP, made / "film.mp4")
    shutil.copy(CLIP.with_suffix(".srt"), made / "film.srt")
    return made


def test_files_become_records_in_order(folder, tmp_path):
    counts = ingested(folder, tmp_path, options=Options(fps=0.5))
    found = rows(tmp_path / "out")
    assert [row["meta"]["file"] for row in found] == ["a.jpg", "b/one.png", "b/two.png", "film.mp4", "z.png"]
    assert [row["text"] for row in found[:3]] == [None, None, "the second"] and found[3]["text"].strip()
    film, frames = found[3], read_video(CLIP, Sampling(16, fps=0.5))
    assert film["meta"]["seconds"] == frames.seconds.tolist()
    assert np.array_equal(film["video"], TOY.encode(jax.numpy.asarray(frames.unit())))
    assert found[1]["image"] == found[4]["image"] and found[1]["video"] is None
    assert counts["other"] == ["notes.md"] and counts["captioned"] == 2 and counts["images"] == 4
    assert counts["encoded"] == counts["frames"] - 1  # one picture is there twice
    again = ingested(folder, tmp_path, "again", Options(fps=0.5))
    assert again["encoded"] == 0 and bytes_of(tmp_path / "out") == bytes_of(tmp_path / "again")


def test_uniform_frames_and_long_films_in_parts(folder, tmp_path):
    for name in ("a.jpg", "z.png", "b/one.png", "b/two.png"):
        (folder / name).unlink()
    ingested(folder, tmp_path, options=Options(None, 7, longest=3))
    found = rows(tmp_path / "out")
    assert [row["meta"]["frames"] for row in found] == [3, 3, 1] and [row["meta"]["part"] for row in found] == [0, 1, 2]
    seconds = np.concatenate([row["meta"]["seconds"] for row in found])
    length = 45.0
    assert np.abs(seconds - np.arange(7) * length / 7).max() < 0.2


def test_manifest(folder, tmp_path):
    lines = [
        {"file": "z.png", "text": "first"},
        {"file": "film.mp4", "cues": [{"start": 0, "stop": 3, "text": "begins"}], "meta": {"from": "me"}},
        {"file": "z.png", "text": ""},
        {"text": "no file"},
        {"file": "a.jpg"},
        {"file": "a.jpg", "txet": "misspelt"},
        {"file": "../secret.png", "text": "outside"},
        {"file": str(tmp_path / "secret.png"), "text": "outside"},
        {"file": "gone.png", "text": "x"},
        {"file": "notes.md", "text": "x"},
        {"file": "b", "text": "x"},
        {"file": "a.jpg", "cues": [{"start": 2}]},
        {"file": 3, "text": "x"},
        [1],
        {"file": "x" * 300 + ".png", "text": "too long a name"},
        {"file": "a.jpg", "text": "x", "meta": {"k": float("nan")}},
        {"file": "a.jpg", "text": "x", "cues": []},
    ]
    picture(tmp_path / "secret.png")
    twice = '{"file": "a.jpg", "text": "x", "text": "y"}'
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n\n\xff\n" + twice)
    how = {"options": Options(fps=1.0), "manifest": tmp_path / "list.jsonl"}
    counts = ingested(folder, tmp_path, **how, on_error="skip")
    assert [(row["text"], row["meta"]["file"]) for row in rows(tmp_path / "out")] == [
        ("first", "z.png"), ("begins", "film.mp4"), (None, "z.png")
    ]  # fmt: skip
    faults = counts["left_out"]
    assert faults["count"] == len(lines) - 3 + 3 and faults["kinds"]["outside the folder"] == 2
    said = {fault["file"].partition(" ")[0]: fault["problem"] for fault in faults["files"]}
    assert set(said) == {f"list.jsonl:{n}" for n in (*range(4, 19), 20, 21)}
    assert "'file'" in said["list.jsonl:4"] and "'text'" in said["list.jsonl:5"] and "txet" in said["list.jsonl:6"]
    assert "NaN" in said["list.jsonl:16"] and "both" in said["list.jsonl:17"] and "twice" in said["list.jsonl:21"]
    for content, message in ((b"", "is empty"), ('{"file": "z.png", "text": "x"}'.encode("utf-16"), "not UTF-8")):
        (tmp_path / "list.jsonl").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            ingested(folder, tmp_path, "none", **how)
    (tmp_path / "list.jsonl").write_text(json.dumps({"text": "no file"}))
    with pytest.raises(ValueError, match=r"list\.jsonl:1: lacks the key 'file'"):
        ingested(folder, tmp_path, "other", **how)


def bad_folder(folder, tmp_path):
    """Every kind of bad file; the names of those that are to be left out."""
    data = CLIP.read_bytes()
    (folder / "zero.png").write_bytes(b"")
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    picture(folder / "deep.png")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "text.mp4").write_text("not a film")
    (folder / "text.png").write_text("not a picture")
    (folder / "cut.png").write_bytes(noisy(tmp_path).read_bytes()[:2000])
    (folder / "sound.wav").write_bytes(b"RIFF....WAVE")
    sound(folder / "sound.mp4")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "outside.png").symlink_to(picture(tmp_path / "elsewhere" / "secret.png"))
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    picture(folder / "twice.png")
    (folder / "twice.txt").write_text("a")
    (folder / "twice.json").write_text('{"text": "b"}')
    picture(folder / "latin.png")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    picture(folder / "cues.png")
    (folder / "cues.json").write_text('[{"start": [], "text": "x"}]')
    names = "zero.png zero.mp4 cut.mp4 text.mp4 text.png cut.png sound.wav sound.mp4 huge.png outside.png nowhere.png"
    picture(folder / "narrow.png", size=(1, 400_000))
    picture(folder / "surrogate.png")
    (folder / "surrogate.json").write_text('{"text": "\\ud800"}')
    os.rename(picture(folder / "old.png"), os.fsencode(folder) + b"/old\xe9.png")
    return {
        *names.split(),
        "narrow.png",
        "deep.png",
        "surrogate.png",
        "old\\udce9.png",
        "linked",
        "pipe.png",
        "twice.png",
        "latin.png",
        "cues.png",
    }


def test_a_film_that_breaks_off_where_its_container_counts_no_frames(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "whole.mkv"), "w") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        for second in range(32):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, second, 0))))
        out.mux(stream.encode(None))
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 4 // 5])
    assert not read_video(tmp_path / "whole.mkv", Sampling()).problem
    damaged = read_video(tmp_path / "cut.mkv", Sampling(), on_damage="keep").problem
    assert re.search(r"breaks off after \d\.\d of 4\.0 s", damaged)


def noisy(tmp_path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def sound(path):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)


def test_bad_files_are_named_explained_and_counted(folder, tmp_path):
    wanted = bad_folder(folder, tmp_path)
    counts = ingested(folder, tmp_path, options=Options(fps=0.2), on_error="skip")
    faults = {fault["file"]: fault["problem"] for fault in counts["left_out"]["files"]}
    assert set(faults) == wanted and counts["left_out"]["count"] == len(wanted)
    for name, words in {
        "zero.png": "empty", "sound.wav": "audio", "sound.mp4": "no video stream", "huge.png": "pixels",
        "outside.png": "outside", "cut.mp4": "moov", "linked": "link", "latin.png": "UTF-8", "cut.png": "truncated",
    }.items():  # fmt: skip
        assert words in faults[name] or name == "cut.mp4", (name, faults[name])
        assert str(tmp_path) not in faults[name] or name == "outside.png", faults[name]
    assert counts["records"] == 5 and counts["images"] + counts["videos"] == 5
    with pytest.raises(ValueError, match="on-error skip"):
        ingested(folder, tmp_path, "strict", Options(fps=0.2))


def test_a_film_that_breaks_off_leaves_nothing(tmp_path):
    av = pytest.importorskip("av")
    whole = tmp_path / "whole.mkv"
    with av.open(str(whole), "w") as file:
        stream = file.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for at in range(120):
            pixels = np.random.default_rng(at).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    (tmp_path / "in").mkdir()
    moved = tmp_path / "fast.mp4"
    with av.open(str(CLIP)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (tmp_path / "in" / "cut.mp4").write_bytes(moved.read_bytes()[: moved.stat().st_size // 2])
    shutil.copy(whole, tmp_path / "in" / "whole.mkv")
    counts = ingested(tmp_path / "in", tmp_path, options=Options(fps=2.0), on_error="skip")
    (fault,) = counts["left_out"]["files"]
    assert fault["file"] == "cut.mp4" and "frames" in fault["problem"] and counts["records"] == 1
    uniform = ingested(tmp_path / "in", tmp_path, "uniform", Options(None, 2), on_error="skip")
    assert [fault["file"] for fault in uniform["left_out"]["files"]] == ["cut.mp4"]


def test_a_folder_is_gone_on_with_only_as_it_was_begun(folder, tmp_path):
    ingested(folder, tmp_path, options=Options(fps=0.2))
    with pytest.raises(ValueError, match=r"fps is 0\.2 there, 0\.5 now"):
        ingested(folder, tmp_path, options=Options(fps=0.5))
    with pytest.raises(ValueError, match="passport"):
        other = PatchMeanFamily(frame=16, patch=8, levels=3).init(key=jax.random.key(0))
        ingested(folder, tmp_path, options=Options(fps=0.2), tokenizer=other)
    with pytest.raises(ValueError, match="holds other things"):
        ingested(folder, tmp_path, "in/b", options=Options(fps=0.2))
    (folder / "z.png").unlink()
    assert ingested(folder, tmp_path, options=Options(fps=0.2))["records"] == 4


def test_stopped_between_any_two_steps_it_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    """Every write is interrupted once: the run is started again until it ends by itself."""
    monkeypatch.setattr("lwm_ingest.write.SHARD_CODES", 40)
    monkeypatch.setattr("lwm_ingest.write.GROUP_CODES", 16)
    options = Options(fps=2.0, longest=30)
    ingested(folder, tmp_path, "whole", options, cache=tmp_path / "one")
    assert len(list((tmp_path / "whole").glob("*.shard.parquet"))) > 3
    replace, stops, steps = os.replace, 0, iter(())

    def stopping(made, path):
        if next(steps, True):
            replace(made, path)
            return
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopping)
    while stops < 200:
        steps = iter([True] * (stops % 5) + [False])
        try:
            ingested(folder, tmp_path, "stopped", options, cache=tmp_path / "two")
            break
        except KeyboardInterrupt:
            stops += 1
            if stops > 30:
                steps = iter(())
                monkeypatch.setattr(os, "replace", replace)
    assert stops > 10 and bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "stopped")


def killed_and_whole(folder, tmp_path, fps, kills):
    """Runs the command with a `kill -9` whenever the cache has grown, until it ends; and once undisturbed."""

    def command(out, cache):
        words = [folder, "--out", tmp_path / out, "--weights", SMALL, "size=small", "--fps", fps, "--cache", cache]
        return subprocess.Popen([*COMMAND, *map(str, words), "--json"], stdout=subprocess.PIPE, text=True)

    def chunks():
        return len(list((tmp_path / "two").rglob("*.npz")))

    done = []
    for at in kills:
        process = command("killed", tmp_path / "two")
        while chunks() < at and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before the kill"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done.append(chunks())
        assert not (tmp_path / "killed" / "shards.json").exists()
    counts = json.loads(command("killed", tmp_path / "two").communicate()[0])
    whole = json.loads(command("whole", tmp_path / "one").communicate()[0])
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert counts["frames"] == whole["frames"] == whole["encoded"] and counts["encoded"] < whole["encoded"]
    return whole, counts


def test_a_clip_killed_twice_equals_one_that_was_not(tmp_path):
    (tmp_path / "in").mkdir()
    for path in (CLIP, CLIP.with_suffix(".srt")):
        shutil.copy(path, tmp_path / "in")
    whole, _ = killed_and_whole(tmp_path / "in", tmp_path, 2, (1, 2))
    assert whole["frames"] == 90 and whole["codes"] == 90 * 144


@pytest.mark.slow
def test_a_film_of_ten_minutes_killed_twice(tmp_path):
    """`LWM_FILM` names the film (the whole of Big Buck Bunny, 596 s)."""
    film = os.environ.get("LWM_FILM")
    if not film:
        pytest.skip("set LWM_FILM to the ten-minute film")
    (tmp_path / "in").mkdir()
    shutil.copy(film, tmp_path / "in" / "film.mp4")
    whole, _ = killed_and_whole(tmp_path / "in", tmp_path, 1, (4, 11))
    assert abs(whole["frames"] - 597) <= 1


def test_options_are_checked(folder, tmp_path):
    for options in ({"fps": 0.0}, {"fps": 1.0, "frames": 3}, {"fps": None}, {"fps": None, "frames": 0}, {"size": 17}):
        with pytest.raises(ValueError, match="give"):
            ingested(folder, tmp_path, options=Options(**options))
    with pytest.raises(ValueError, match="longest"):
        Options(longest=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="No picture or video"):
        ingested(tmp_path / "empty", tmp_path)
    (tmp_path / "empty" / "bad.png").write_bytes(b"")
    counts = ingested(tmp_path / "empty", tmp_path, on_error="skip")
    assert counts["records"] == 0 and counts["left_out"]["kinds"] == {"empty file": 1}
    with pytest.raises(ValueError, match="is a file"):
        ingested(tmp_path / "empty", tmp_path, "empty/bad.png", on_error="skip")
    with pytest.raises(NotADirectoryError):
        ingested(tmp_path / "missing", tmp_path)
    assert run.CHUNK == 32, "codes kept in chunks of another size are another FORMAT"
