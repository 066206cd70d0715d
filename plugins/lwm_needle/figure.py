"""The heat map of needle records, one panel for each evaluation: before and after, say.

Owns the picture and needs matplotlib, an extra; importing this file does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.evaluate.picture import need_figure


def draw(path: str | Path, panels: Mapping[str, Sequence[Mapping[str, Any]]], title: str = "") -> Path:
    """Writes a picture (.png, .svg or .pdf by its name) with one heat map per panel; returns its path.

    `panels`: title → records {context, depth, correct, total}; those of another kind than "needle" are left out.
    Raises `ImportError` saying what to install where matplotlib is not there.
    """
    figure = need_figure()(figsize=(0.6 + 3.4 * len(panels), 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    shown = {name: [r for r in rs if r.get("kind", "needle") == "needle"] for name, rs in panels.items()}
    images = [_panel(axis, name, records) for axis, (name, records) in zip(axes, shown.items(), strict=True)]
    axes[0].set_ylabel("depth of the needle (%)")
    figure.colorbar(images[0], ax=list(axes), label="numbers found")
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=150)
    return Path(path)


def _panel(axis, name: str, records: Sequence[Mapping[str, Any]]):
    if not records:
        raise ValueError(f"Panel {name!r} has no needle record: give those of a needle evaluation.")
    contexts = sorted({record["context"] for record in records})
    depths = sorted({record["depth"] for record in records})
    cells = np.full((len(depths), len(contexts)), np.nan)
    for record in records:
        share = record["correct"] / record["total"]
        row, column = depths.index(record["depth"]), contexts.index(record["context"])
        cells[row, column] = share
        axis.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7)
    image = axis.imshow(cells, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    axis.set_xticks(range(len(contexts)), [str(context) for context in contexts])
    axis.set_yticks(range(len(depths)), [f"{100 * depth:.0f}" for depth in depths])
    axis.set_xlabel("context (tokens)")
    axis.set_title(name)
    return image
