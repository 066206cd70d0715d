"""The report's pictures: loss by step, and whatever an evaluator can draw of what it measured.

Owns the loss curve. Heat maps and the like are the evaluators' own (`lwm_core.evaluate.Pictured`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_core.evaluate import Evaluation, Pictured
from lwm_core.evaluate.picture import need_figure
from lwm_registry.demo.facts import steps


def draw(
    out: Path,
    evaluators: Mapping[str, Any],
    before: Mapping[str, Evaluation],
    after: Mapping[str, Evaluation],
    report: Mapping[str, Any],
) -> dict[str, Path]:
    """Writes every picture into `out`; returns title → file, in the order of the report."""
    drawn = {"Loss by step": _losses(out, report["stages"])}
    for name, evaluator in evaluators.items():
        if isinstance(evaluator, Pictured):
            title, panels = name.capitalize(), {name: after[name]}
            if before[name] != after[name]:  # otherwise it is of what extension does not touch, and shown once
                title = f"{title}, before and after"
                panels = {"before extension": before[name], "after extension": after[name]}
            drawn[title] = evaluator.draw(out / f"{name}.png", panels)
    return drawn


def _losses(out: Path, stages: list[dict[str, Any]]) -> Path:
    figure = need_figure()(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    done = steps(out)
    for stage in stages:
        mine = [step for step in done if step["stage"] == stage["name"]]
        label = f"{stage['name']}, theta {stage['rope_theta']:g}"
        axis.plot([s["step"] for s in mine], [s["loss"] for s in mine], label=label, linewidth=1)
        if mine:
            axis.axvline(mine[0]["step"], color="0.8", linewidth=0.8)
    axis.set_xlabel("step")
    axis.set_ylabel("weighted loss (nats)")
    axis.legend(fontsize=7)
    path = out / "loss.png"
    figure.savefig(path, dpi=150)
    return path
