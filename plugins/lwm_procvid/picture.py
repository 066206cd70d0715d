"""Pictures of what was measured: bars by kind, and generated clips under their captions.

Owns the two pictures and needs matplotlib, an extra; importing this file does not.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lwm_core.evaluate import Evaluation
from lwm_core.evaluate.picture import need_figure


def bars(path: Path, panels: Mapping[str, Evaluation], share: str, *, level: str | None = None) -> Path:
    """One group of bars for each kind, one bar for each panel; `level` is drawn as a line across each group."""
    figure = need_figure()(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    for number, (title, evaluation) in enumerate(panels.items()):
        width = 0.8 / len(panels)
        places = np.arange(len(evaluation.records)) + (number - (len(panels) - 1) / 2) * width
        axis.bar(places, [record[share] for record in evaluation.records], width, label=title)
        if level is not None:
            levels = [record[level] for record in evaluation.records]
            axis.hlines(
                levels, places - width / 2, places + width / 2, color="black", label=level if not number else None
            )
        axis.set_xticks(range(len(evaluation.records)), [str(record["kind"]) for record in evaluation.records])
    axis.set_ylim(0, 1.02)
    axis.set_ylabel(f"share {share}")
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=150)
    return path


def contact_sheet(path: Path, shown: Sequence[tuple[str, np.ndarray | None, bool]], *, columns: int = 3) -> Path:
    """Clips as strips of frames under their captions, green where the caption holds and red where it does not."""
    rows = -(-len(shown) // columns)
    figure = need_figure()(figsize=(3.4 * columns, 1.25 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for axis, (caption, pixels, right) in zip(axes, shown, strict=False):
        axis.set_title(textwrap.fill(caption, 44), fontsize=7, color="darkgreen" if right else "darkred")
        if pixels is not None:
            apart = np.pad(pixels, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=1.0)
            axis.imshow(np.concatenate(list(apart), axis=1), interpolation="nearest")
    figure.savefig(path, dpi=110)
    return path
