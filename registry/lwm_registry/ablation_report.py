"""An ablation for people: the result as plain data, a Markdown page and a figure. Owns the wording; trains nothing."""

import dataclasses
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lwm_registry.ablation import Ablation, summarised


COLUMNS = ("measure", "arm", "mean", "std", "difference", "std", "mean +- 2 s.e.", "seeds above")
_PACKAGES = ("lwm-jax", "jax", "jaxlib", "optax", "numpy")


def result(ablation: Ablation, records: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """All that is known: how it was made, every run, and the differences."""
    run = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    what = dataclasses.asdict(ablation)
    return {"run": run, "ablation": what, "summary": summarised(ablation, records), "records": list(records)}


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of `COLUMNS`, one row for each measure and arm; the baseline has no difference."""
    return [
        (
            row["measure"],
            row["arm"],
            f"{row['mean']:.4f}",
            _number(row["std"]),
            _signed(row.get("difference_mean")),
            _number(row.get("difference_std")),
            _range(row.get("difference_low"), row.get("difference_high")),
            f"{row['above']} of {row['seeds']}" if "above" in row else "",
        )
        for row in result["summary"]
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The page: what was compared, what each arm cost, and the table."""
    run, what, records = result["run"], result["ablation"], result["records"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    seeds = len({record["seed"] for record in records})
    lines = [
        f"# Ablation: {what['title']}",
        "",
        f"`{run['command']}`",
        "",
        f"{run['date']}, {run['machine']}, Python {run['python']}, {versions}.",
        "",
        f"Recipe `{what['recipe']}`, {seeds} seeds. Runs of one seed begin with the same weights and draw the same "
        f"documents; differences are from `{what['baseline']}`, seed by seed, and `std` is over seeds.",
        "",
        *_table(("arm", "what", "overrides"), _arms(what)),
        "",
        "What a run cost, mean over seeds.",
        "",
        *_table(("arm", "steps", "documents", "targets", "tokens computed", "seconds"), _costs(what, records)),
        "",
        *_table(COLUMNS, rows(result)),
        "",
        f"![{what['title']}](ablation-{what['title'].lower()}.png)",
    ]
    return "\n".join(lines) + "\n"


def drawn(result: Mapping[str, Any], path: Path) -> str:
    """Draws every run of every measure, a panel each; what to install when it cannot, else empty."""
    if importlib.util.find_spec("matplotlib") is None:
        return "pip install 'lwm-jax[demo]' brings matplotlib."
    from matplotlib.figure import Figure

    measures, arms = result["ablation"]["measures"], list(result["ablation"]["arms"])
    figure = Figure(figsize=(2.9 * len(measures), 3.2), layout="constrained")
    for panel, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for seed in sorted({record["seed"] for record in result["records"]}):
            own = {r["arm"]: r["measures"][measure] for r in result["records"] if r["seed"] == seed}
            panel.plot(arms, [own[arm] for arm in arms], marker="o", markersize=4, linewidth=0.6, label=f"seed {seed}")
        panel.set_title(measure, fontsize=9)
        panel.tick_params(axis="x", labelrotation=30, labelsize=7)
        panel.tick_params(axis="y", labelsize=7)
    figure.savefig(path, dpi=120)
    return ""


def _arms(what: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (name, arm["summary"], ", ".join(f"`{k}={v}`" for k, v in arm["overrides"].items()) or "none")
        for name, arm in what["arms"].items()
    ]


def _costs(what: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    names = ("steps", "documents", "targets", "tokens_computed", "seconds")
    return [
        (arm, *(f"{statistics.fmean(r[name] for r in records if r['arm'] == arm):,.0f}" for name in names))
        for arm in what["arms"]
    ]


def _table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    return [_line(columns), _line("---" for _ in columns), *map(_line, cells)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{_signed(low)} to {_signed(high)}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
