"""Reading and writing frames: which frames, what size, and what a bad file says."""

from pathlib import Path

import numpy as np
import pytest

from lwm_core.vision.video import Sampling, VideoError, read_picture, read_video
from lwm_core.vision.write import write_frames


CLIP = Path(__file__).parents[3] / "assets" / "clip" / "big_buck_bunny.mp4"


def counting_frames(count: int, rows: int = 48, columns: int = 64) -> np.ndarray:
    """Frame i is grey of level 10 i, with a white left edge."""
    frames = np.empty((count, rows, columns, 3), np.uint8)
    frames[:] = (np.arange(count) * 10)[:, None, None, None]
    frames[:, :, :4] = 255
    return frames


@pytest.fixture
def film(tmp_path) -> Path:
    """20 frames at 10 a second."""
    return write_frames(tmp_path / "film.mp4", counting_frames(20), fps=10.0)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Sampling(), list(range(20))),
        (Sampling(fps=5.0), list(range(0, 20, 2))),
        (Sampling(fps=100.0), list(range(20))),
        (Sampling(fps=5.0, start=0.5, stop=1.1), [5, 7, 9]),
        (Sampling(start=1.85), [18, 19]),
    ],
)
def test_the_frame_on_the_screen_at_each_instant_is_taken(film, how, expected):
    frames = read_video(film, how)
    shown = np.round(frames.pixels[:, 10, -10, 0] / 10).astype(int)
    assert shown.tolist() == expected
    assert np.allclose(frames.seconds, np.array(expected) / 10)


def test_short_side_to_size_then_the_middle_square(film):
    whole = read_video(film, Sampling(24, "none", stop=0.1)).pixels
    square = read_video(film, Sampling(24, "centre", stop=0.1)).pixels
    assert whole.shape == (1, 24, 32, 3) and square.shape == (1, 24, 24, 3)
    assert np.array_equal(square[0], whole[0, :, 4:28])


def test_the_shipped_clip_is_whole():
    frames = read_video(CLIP, Sampling(16, fps=1.0))
    assert len(frames) == 45 and frames.problem == ""
    assert CLIP.stat().st_size < 4e6


def test_a_file_that_breaks_off_says_where_and_keeps_what_was_decoded(tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(CLIP.read_bytes()[:300_000])
    with pytest.raises(VideoError, match=r"cut\.mp4: .*after \d+ .*on_damage='keep'") as caught:
        read_video(cut, Sampling(16))
    kept = read_video(cut, Sampling(16), on_damage="keep")
    assert 0 < len(kept) < 1080 and "after" in kept.problem
    assert np.array_equal(caught.value.frames.pixels, kept.pixels)
    assert np.array_equal(kept.pixels, read_video(CLIP, Sampling(16)).pixels[: len(kept)])


@pytest.mark.parametrize("content", [b"", b"plain words, no film" * 50, CLIP.read_bytes()[:600]])
def test_what_is_no_video_is_named_even_when_damage_is_kept(tmp_path, content):
    path = tmp_path / "not.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"not\.mp4: not readable as video after 0 frames"):
        read_video(path, on_damage="keep")


def test_no_file_and_no_frame_in_the_stretch(tmp_path, film):
    with pytest.raises(FileNotFoundError, match=r"No file .*none\.mp4"):
        read_video(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match=r"no frame between 50\.0 s and the end"):
        read_video(film, Sampling(start=50.0))


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"size": 0}, {"start": 2.0, "stop": 1.0}])
def test_a_sampling_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        Sampling(**wrong)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_written_clips_read_back(tmp_path, suffix):
    frames = counting_frames(6, 33, 47)
    path = write_frames(tmp_path / "new" / f"clip{suffix}", frames.astype(np.float32) / 255, fps=5.0)
    back = read_video(path)
    rows, columns = 33 + (suffix == ".mp4"), 47 + (suffix == ".mp4")
    assert back.pixels.shape[0] == 6 and read_video(path, Sampling(crop="none")).pixels.shape[1:3] == (rows, columns)
    assert np.allclose(np.diff(back.seconds), 0.2, atol=0.01)
    assert np.abs(back.pixels[:, 10, 20].astype(int) - frames[:, 10, 20]).max() < 6
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_picture_goes_out_and_comes_back_exactly(tmp_path):
    frame = counting_frames(1)[0]
    path = write_frames(tmp_path / "one.png", frame, scale=2)
    assert np.array_equal(read_picture(path, Sampling(crop="none")).pixels[0], frame.repeat(2, 0).repeat(2, 1))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(VideoError, match=r"one\.png: not a readable picture"):
        read_picture(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_frames(tmp_path / "kept.png", counting_frames(1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="3 frames do not fit one PNG"):
        write_frames(path, counting_frames(3))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="no writer for '.avi'"):
        write_frames(tmp_path / "clip.avi", counting_frames(3))
