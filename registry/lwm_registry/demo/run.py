"""The demo's order of events: measure the base, extend it stage by stage, add vision, measure, generate, report.

Owns the order and nothing else: every part comes from the recipe by name. Between two stages the run is read
back from its checkpoint, so that each stage starts from what is on disk.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwm_core.curriculum import Stage
from lwm_registry.demo import figures, page, world
from lwm_registry.demo.facts import machine, stage_facts
from lwm_registry.pipelines import compose
from lwm_registry.runs import load


if TYPE_CHECKING:
    from lwm_core.pipeline import Pipeline


def run(out: Path, recipe: str = "demo") -> dict[str, Any]:
    """Runs the recipe into `out`, writes `report.json` and `report.html` there, and returns the report.

    `wall_seconds` counts from `LWM_STARTED` (seconds since 1970, set by `make demo` before it installs), or
    from this call.
    """
    began = time.time()
    base = compose(recipe)
    if base.curriculum is None:
        raise ValueError(f"Recipe {recipe!r} has no [curriculum]: the demo needs text stages, then vision stages.")
    stages = base.curriculum.stages
    text = [stage for stage in stages if stage.modalities == ("text",)]
    vision = stages[len(text) :]
    _say(f"base model: {world.parameters(base.model):,} parameters, theta {base.model.rope.theta:g}; measuring it")
    before = base.evaluate()
    extended = _through(base, out, text)
    _say("measuring the extended model")
    after = extended.evaluate()
    report: dict[str, Any] = {"recipe": recipe} | _measured(before, "before") | _measured(after, "after")
    report["continuation"] = world.continuation(extended)
    _through(base, out, vision)
    _say("generating a picture and a clip")
    final = load(out)
    report |= world.generate(final, out)
    report |= {
        "stages": stage_facts(out, stages),
        "attention": world.attention(final, stages),
        "base": {"parameters": world.parameters(base.model), "weights": str(base.weights)},
        "machine": machine(),
    }
    drawn = figures.draw(out, base.evaluators, before, after, report)
    report["run_seconds"] = round(time.time() - began, 1)
    report["wall_seconds"] = round(time.time() - float(os.environ.get("LWM_STARTED", began)), 1)
    report["peak_rss_bytes"] = _peak()
    (out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    page.write(out / "report.html", report, drawn)
    return report


def _through(base: "Pipeline", out: Path, stages: Sequence[Stage]) -> "Pipeline":
    """The pipeline after these stages, each begun from what the one before it left on disk."""
    trained = base
    for stage in stages:
        begun = (out / "checkpoints").exists()
        trained = load(out).resume(out, until=stage.name) if begun else base.train(out, until=stage.name)
    return trained


def _measured(evaluations, when: str) -> dict[str, Any]:
    """The needle and perplexity records of one moment, under the report's names; those of others as they are."""
    needle, perplexity = evaluations["needle"], evaluations["perplexity"]
    cells = {kind: [dict(r) for r in needle.records if r["kind"] == kind] for kind in ("needle", "control")}
    found: dict[str, Any] = {
        f"needle_{when}": cells["needle"],
        f"perplexity_{when}": [dict(r) for r in perplexity.records],
    }
    if when == "after":
        found |= {"needle_control": cells["control"], "needle_chance": needle.summary["chance"]}
        others = {name: each for name, each in evaluations.items() if name not in ("needle", "perplexity")}
        found["measured"] = {name: [dict(record) for record in each.records] for name, each in others.items()}
    return found


def _peak() -> int:
    """Peak resident bytes of this process, or of the largest child if that was larger."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(w).ru_maxrss for w in who) * unit


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
