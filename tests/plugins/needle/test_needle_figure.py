"""The heat map is drawn from records, and missing matplotlib is said in words."""

import sys

import pytest

from lwm_needle.figure import draw


RECORDS = [
    {"kind": kind, "context": context, "depth": depth, "correct": 3, "total": 4}
    for kind in ("needle", "control")
    for context in (256, 512)
    for depth in (0.0, 1.0)
]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_before_and_after_are_drawn_side_by_side(tmp_path, suffix):
    bare = [{k: v for k, v in record.items() if k != "kind"} for record in RECORDS[:4]]
    path = draw(tmp_path / f"needle.{suffix}", {"before": bare, "after": RECORDS}, title="Single needle")
    assert path.stat().st_size > 1000


def test_a_panel_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="before"):
        draw(tmp_path / "x.png", {"before": []})


def test_missing_matplotlib_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="demo"):
        draw(tmp_path / "x.png", {"after": RECORDS})
