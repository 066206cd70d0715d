"""Shards as data: documents by windows of frames, whose tokenizer is checked; and every record judged."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lwm_core.testing.source import check_source
from lwm_core.vision import PatchMeanFamily, ids_to_frames
from lwm_ingest import plugin
from lwm_ingest.ingest import Options, ingest
from lwm_ingest.source import Shards
from lwm_registry import cli, compose
from lwm_sources.parquet import Parquet


FAMILY = PatchMeanFamily(frame=16, patch=8)
TOY = FAMILY.init(key=jax.random.key(0))
CLIP = Path(__file__).parents[3] / "assets" / "clip" / "big_buck_bunny.mp4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ten pictures, the clip at 1 a second, in several groups and shards."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "in").mkdir()
    for at in range(10):
        Image.new("RGB", (20, 16), (25 * at, 100, 7)).save(folder / "in" / f"p{at}.png")
        (folder / "in" / f"p{at}.txt").write_text(f"shade {at}")
    shutil.copy(CLIP, folder / "in" / "film.mp4")
    shutil.copy(CLIP.with_suffix(".srt"), folder / "in" / "film.srt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lwm_ingest.write.GROUP_CODES", 12)
        patch.setattr("lwm_ingest.write.SHARD_CODES", 100)
        ingest(folder / "in", folder / "out", TOY, Options(longest=20), cache=folder / "cache")
    return folder / "out"


def test_windows_of_frames(made):
    whole = Shards(made, order="text-first")
    assert len(whole) == 3 + 10 and len(whole.windows) > 5 and len(list(made.glob("*.parquet"))) > 1
    cut = Shards(made, frames=8, stride=4, order="text-first")
    assert len(cut) == (4 + 4 + 1) + 10  # 20, 20 and 5 frames
    codes = np.concatenate([ids_to_frames(whole[i].spans[1].content, TOY) for i in range(3)])
    seconds = np.concatenate([whole[i].meta["seconds"] for i in range(3)])
    for at in range(4):
        document = cut[4 + at]
        first = 20 + 4 * at
        assert np.array_equal(ids_to_frames(document.spans[1].content, TOY), codes[first : first + 8])
        assert document.meta["seconds"] == tuple(seconds[first : first + 8])
        assert document.spans[0].content.endswith("<vision>") and document.meta["caption"]
    assert cut[9].spans[0].content == "shade 0 <vision>" and cut[9].name == "p0.png"
    check_source(cut)
    check_source(Shards(made, TOY, frames=4, form="chat"))


def test_another_tokenizer_is_refused(made):
    assert Shards(made, TOY).header["passport"]["codebook_size"] == 64
    for other in (PatchMeanFamily(frame=16, patch=8, levels=3), PatchMeanFamily(frame=32, patch=16)):
        with pytest.raises(ValueError, match="another vision tokenizer.*(weights|frame_size|levels)"):
            Shards(made, other.init(key=jax.random.key(0)))


def test_what_is_no_shard_is_refused(made, tmp_path):
    with pytest.raises(FileNotFoundError, match="No folder"):
        Shards(tmp_path / "none")
    unfinished = shutil.copytree(made, tmp_path / "unfinished")
    (unfinished / "shards.json").unlink()
    with pytest.raises(ValueError, match="was not finished"):
        Shards(unfinished)


def shards_for_training():
    tiny = Path(str(plugin.__file__)).parent / "examples" / "tiny"
    return {
        "vision": {"use": "patch-mean", "frame": 16, "patch": 8},
        "sources.squares": {"use": "shards", "path": str(tiny), "frames": 2},
    }


def test_a_recipe_takes_shards_of_its_own_tokenizer_only():
    changes = shards_for_training()
    pipeline = compose("tiny-world", changes)
    assert len(pipeline.sources["squares"]) == 2 + 2
    with pytest.raises(ValueError, match="another vision tokenizer"):
        compose("tiny-world", {"sources.squares": changes["sources.squares"]})


@pytest.mark.slow
def test_a_recipe_trains_on_shards(tmp_path):
    trained = compose("tiny-world", shards_for_training()).train(tmp_path / "run")
    assert trained.model is not None and list((tmp_path / "run").rglob("*.safetensors"))


def test_the_source_of_tables_reads_them_too(made):
    table = Parquet((made / "00000.shard.parquet",), codebook=64, order="text-first")
    ours = Shards(made, order="text-first")
    for at in range(len(table)):
        assert [s.modality for s in table[at].spans] == [s.modality for s in ours[at].spans]
        assert np.array_equal(table[at].spans[1].content, ours[at].spans[1].content)


def validated(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["lwm", "validate", *map(str, words), "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0, json.loads(capsys.readouterr().out)


def rewritten(path, change):
    """The shard with its rows changed, and everything else as it was."""
    table = pq.read_table(path)
    table = table.replace_schema_metadata(table.schema.metadata)
    changed = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), path)


def _code(rows):
    rows[0]["video"][0][0] = 64
    return rows


def _other(rows):
    rows[0]["video"][0][0] ^= 1
    return rows


def _ragged(rows):
    rows[0]["video"][1].pop()
    return rows


def _fewer(rows):
    rows[0]["video"].pop()
    return rows


def _caption(rows):
    rows[0]["text"] = "another"
    return rows


def _backwards(rows):
    rows[0]["meta"]["seconds"].reverse()
    return rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_code, "out of range"), (_other, "meta.hash"), (_ragged, "whole frames"), (_fewer, "does not fit the frames"),
        (_caption, "another caption"), (_backwards, "does not rise"), (lambda rows: rows[1:], "other counts"),
    ],
)  # fmt: skip
def test_a_changed_record_is_found(made, tmp_path, monkeypatch, capsys, change, said):
    copy = shutil.copytree(made, tmp_path / "copy")
    rewritten(copy / "00000.shard.parquet", change)
    code, found = validated(monkeypatch, capsys, copy)
    messages = [error["message"] for error in found["files"][0]["errors"]]
    assert code == 1 and any(said in message for message in messages), messages
    assert any("SHA-256" in message for message in messages)


def test_good_shards_and_damaged_files(made, tmp_path, monkeypatch, capsys):
    code, found = validated(monkeypatch, capsys, made)
    (file,) = found["files"]
    assert code == 0 and file["kinds"] == {"image-text": 10, "video-text": 3} and file["about"]["codebook"] == 64
    code, found = validated(monkeypatch, capsys, made / "00000.shard.parquet")
    assert code == 0 and found["files"][0]["as"] == "shards"
    copy = shutil.copytree(made, tmp_path / "copy")
    shards = sorted(copy.glob("*.parquet"))
    shards[0].write_bytes(shards[0].read_bytes()[:-20])
    shards[1].rename(copy / "99999.shard.parquet")
    code, found = validated(monkeypatch, capsys, copy)
    said = " ".join(error["message"] for error in found["files"][0]["errors"])
    assert code == 1 and "damaged" in said and "is missing" in said and "not in the index" in said
    (copy / "shards.json").write_text('{"header": 3}')
    code, found = validated(monkeypatch, capsys, copy)
    assert code == 1 and "not an index" in found["files"][0]["errors"][0]["message"]
