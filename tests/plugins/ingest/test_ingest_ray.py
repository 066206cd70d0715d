"""`lwm ingest --engine ray` on a real cluster of two workers: what one process gives, whatever happens on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from PIL import Image

from lwm_core.vision import PatchMeanFamily
from lwm_ingest.cluster import joined
from lwm_ingest.find import Item
from lwm_ingest.ingest import Options, ingest
from lwm_ingest.problems import IngestError
from lwm_ingest.spread import dealt
from lwm_ingest.store import CHUNK


CLIP = Path(__file__).parents[3] / "assets" / "clip" / "big_buck_bunny.mp4"
TOY = PatchMeanFamily(frame=16, patch=8).init(key=jax.random.key(0))
COMMAND = (sys.executable, "-c", "from lwm_registry.cli import main; main()", "ingest")


def running(session):
    """Processes of a Ray session, by what they were started with."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if session in place.read_text(errors="replace"):
                found.append(place.parent.name)
        except OSError:
            continue
    return found


def none_left(session):
    for _ in range(600):
        if not running(session):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster to which this process is connected; nothing of it is left at the end."""
    with joined(None, 2) as ray:
        context = ray.get_runtime_context()
        session = Path(ray._private.worker._global_node.get_session_dir_path()).name
        assert running(session)
        yield context.gcs_address
    assert not ray.is_initialized() and none_left(session)


@pytest.fixture
def folder(tmp_path):
    """A clip with captions, pictures of which two are one, and files that are broken in three ways."""
    made = tmp_path / "in"
    made.mkdir()
    for at in range(CHUNK + 3):
        Image.new("RGB", (24, 20), (at % (CHUNK + 2), 90, 10)).save(made / f"{at:02d}.png")
    (made / "00.txt").write_text("the first\n")
    shutil.copy(CLIP, made / "film.mp4")
    shutil.copy(CLIP.with_suffix(".srt"), made / "film.srt")
    (made / "cut.mp4").write_bytes(CLIP.read_bytes()[:20_000])
    (made / "odd.png").write_bytes(b"no picture")
    (made / "void.jpg").write_bytes(b"")
    return made


def bytes_of(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://here", "9"])
def test_a_cluster_that_does_not_answer_is_named(address):
    """First in this file: later this process is connected."""
    with pytest.raises(ValueError, match=f"No Ray cluster answers at '{address}'"), joined(address, None):
        pass


def test_a_cluster_gives_the_same_bytes_and_tells_the_same(cluster, folder, tmp_path):
    counts, told = {}, []
    for engine in ("local", "ray"):
        how = {"cache": tmp_path / engine / "cache", "watch": told.append, "engine": engine, "on_error": "skip"}
        counts[engine] = ingest(folder, tmp_path / engine / "out", TOY, Options(fps=1.0), **how)
        told.append(None)
    assert bytes_of(tmp_path / "local" / "out") == bytes_of(tmp_path / "ray" / "out")
    varying = {"out", "seconds", "frames_per_second"}
    plain, spread = ({k: v for k, v in counts[engine].items() if k not in varying} for engine in counts)
    assert plain == spread and plain["left_out"]["count"] == 3 and plain["cached"] == 1
    of_ray = told[told.index(None) + 1 : -1]
    assert [one.done for one in of_ray] == sorted(one.done for one in of_ray) and len(of_ray) > 2
    assert of_ray[-1].encoded == counts["ray"]["encoded"] and {one.file for one in of_ray} >= {"film.mp4", "34.png"}


def test_faults_and_failing_workers_are_named(cluster, folder, tmp_path):
    (folder / "void.jpg").unlink()
    (folder / "odd.png").unlink()
    with pytest.raises(IngestError, match=r"cut\.mp4: .* Mend it or take it out"):
        ingest(folder, tmp_path / "out", TOY, Options(), cache=tmp_path / "cache", engine="ray", workers=2)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ingest").write_text("a file where the codes should go")
    for path in [*folder.glob("[0-9]*"), folder / "cut.mp4"]:
        path.unlink()
    with pytest.raises(RuntimeError, match=r"film\.mp4: the worker failed at it: (NotADirectory|FileExists)Error"):
        ingest(folder, tmp_path / "out", TOY, Options(), cache=tmp_path / "cache", engine="ray", workers=1)


def test_killed_and_started_again_nothing_is_lost_or_doubled(cluster, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(CLIP, tmp_path / "in")
    tokenizer = json.dumps({"use": "patch-mean", "frame": 16, "patch": 8})
    words = [tmp_path / "in", "--out", tmp_path / "out", "--tokenizer", tokenizer, "--fps", 10, "--json"]
    words += ["--cache", tmp_path / "cache", "--engine", "ray", "--ray-address", cluster, "--workers", 2]

    def chunks():
        return len(list((tmp_path / "cache").rglob("*.npz")))

    first = subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.DEVNULL)
    while not chunks() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, "it ended before the kill"
    assert not (tmp_path / "out" / "shards.json").exists()
    again = subprocess.run([*COMMAND, *map(str, words)], stdout=subprocess.PIPE, check=True)
    counts = json.loads(again.stdout)
    whole = ingest(tmp_path / "in", tmp_path / "whole", TOY, Options(fps=10.0), cache=tmp_path / "other")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert counts["frames"] == whole["frames"] > 400 and counts["encoded"] < whole["encoded"]


@pytest.mark.slow
def test_a_cluster_ends_with_its_program_however_that_ends():
    program = (
        "import os, signal, sys\nfrom lwm_ingest.cluster import joined\n"
        "with joined(None, 1) as ray:\n"
        "    print(ray._private.worker._global_node.get_session_dir_path(), flush=True, file=sys.__stdout__)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL and none_left(Path(done.stdout.strip()).name)


def test_work_is_dealt_out_whole():
    items = [Item(Path(f"{at}"), f"{at}", "video" if at % 9 == 0 else "image") for at in range(100)]
    parts = dealt(items)
    assert sorted(item.name for part in parts for item in part) == sorted(item.name for item in items)
    assert all(len(part) == 1 if part[0].kind == "video" else len(part) <= CHUNK for part in parts)
    assert dealt([]) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"engine": "spark"}, "give local"),
        ({"address": "here:1"}, "add engine=ray"),
        ({"engine": "ray", "workers": 0}, "at least 1"),
    ],
)
def test_engines_that_are_none_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ingest(tmp_path, tmp_path / "out", TOY, Options(), **options)


def test_nothing_is_reported_to_anybody(cluster):
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
