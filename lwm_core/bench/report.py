"""Results for people: table, Markdown and plot, and the facts of the machine that gave them.

Owns the wording of results, and measures nothing. Records are plain dictionaries, as they are kept in JSON.
"""

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lwm_core.bench.peers import PEERS


COLUMNS = ("case", "pass", "backend", "ms", "GFLOP/s", "temp MB", "wire MB", "work max/mean", "error", "options")
_PACKAGES = ("lwm-jax", "jax", "jaxlib", "numpy")


def facts(command: str, backends: Iterable[str], more: Iterable[str] = ()) -> dict[str, Any]:
    """Where and when a run was made, with which versions (`more` packages too), and what to know about its peers."""
    peers = [PEERS[name] for name in backends if name in PEERS]
    packages = (*_PACKAGES, *sorted({*more, *(peer.package for peer in peers)} - {*_PACKAGES}))
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{len(os.sched_getaffinity(0))} cores of {_processor()}, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "notes": [peer.note for peer in peers if peer.note],
    }


def rows(records: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of `COLUMNS`, one row per record."""
    return [
        (
            r["case"],
            r["direction"],
            r["backend"],
            f"{r['seconds_median'] * 1e3:.1f}",
            f"{r['flops_per_second'] / 1e9:.1f}",
            _megabytes(r["temporary_bytes"]),
            _megabytes(r["wire_bytes"]),
            "" if r["work_max_over_mean"] is None else f"{r['work_max_over_mean']:.3f}",
            f"{r['error']:.1e}",
            r["options"],
        )
        for r in records
    ]


def markdown(result: dict[str, Any]) -> str:
    """The run as a Markdown page: facts, table, notes and who was not measured."""
    run = result["run"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    head = [f"`{run['command']}`", "", f"{run['date']}, {run['machine']}, Python {run['python']}, {versions}.", ""]
    table = [_line(COLUMNS), _line("---" for _ in COLUMNS), *(_line(row) for row in rows(result["records"]))]
    notes = [f"- {note}." for note in run["notes"]]
    refused = [f"- Not measured: {r['backend']} on {r['case']}: {r['reason']}" for r in result["refused"]]
    return "\n".join(["# Attention", "", *head, *table, "", *notes, *refused]) + "\n"


def drawn(records: Sequence[dict[str, Any]], path: Path) -> str:
    """Draws the times of all cases, a panel each; what to install when it cannot, else empty."""
    if importlib.util.find_spec("matplotlib") is None:
        return "pip install 'lwm-jax[demo]' brings matplotlib."
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(r["case"] for r in records))
    figure = Figure(figsize=(9, 0.6 + 2.2 * len(cases)), layout="constrained")
    panels = figure.subplots(len(cases), 2, squeeze=False)
    for line, case in zip(panels, cases, strict=True):
        for panel, direction in zip(line, ("forward", "forward+backward"), strict=True):
            found = [r for r in records if (r["case"], r["direction"]) == (case, direction)]
            found.sort(key=lambda r: -r["seconds_median"])
            bars = panel.barh([r["backend"] for r in found], [r["seconds_median"] * 1e3 for r in found])
            panel.bar_label(bars, fmt="%.3g", padding=2, fontsize=8)
            panel.set_title(f"{case}, {direction}", fontsize=9)
            panel.set_xlabel("ms, less is better", fontsize=8)
            panel.margins(x=0.15)
            panel.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
    return ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()
