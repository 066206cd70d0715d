"""`python -m lwm_procvid RUN --out FOLDER`: the figures of a run as procvid.json, and its clips as procvid.png.

Owns the two files that are kept under benchmarks/results. Measuring is the evaluators' of the run's recipe.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from lwm_procvid.generation import ProcVidGeneration
from lwm_procvid.picture import contact_sheet
from lwm_procvid.questions import ProcVidQuestions
from lwm_registry import load
from lwm_registry.demo.facts import machine


SHOWN = 12  # clips in the picture


def main(arguments: list[str] | None = None) -> int:
    """The exit status; a message instead of a traceback for what a user can put right."""
    parser = argparse.ArgumentParser("python -m lwm_procvid", description="Measure a run of the recipe procvid.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--out", type=Path, required=True, help="where procvid.json and procvid.png go")
    asked = parser.parse_args(arguments)
    try:
        facts = measure(asked.run, asked.out)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({name: found["summary"] for name, found in facts["evaluations"].items()}, indent=1))
    return 0


def measure(run: Path, out: Path) -> dict[str, Any]:
    """Writes both files and returns what the first one holds."""
    pipeline = load(run)
    found: dict[str, Any] = {}
    for name, evaluator in pipeline.evaluators.items():
        if isinstance(evaluator, ProcVidGeneration):
            made = evaluator.made(pipeline.subject)
            found[name] = evaluator.counted(made)
            shown = [(one.clip.caption, one.pixels, one.verdict.right) for one in made[:SHOWN]]
            contact_sheet(out / "procvid.png", shown)
        elif isinstance(evaluator, ProcVidQuestions):
            found[name] = evaluator(pipeline.subject)
    if not found:
        raise ValueError(f"The recipe of {run} has no procvid evaluator: train the recipe procvid.")
    facts = {
        "command": "lwm train procvid --out RUN && python -m lwm_procvid RUN --out benchmarks/results",
        "recipe": pipeline.recipe["curriculum"],
        "evaluations": {
            name: {"summary": dict(one.summary), "records": [dict(record) for record in one.records]}
            for name, one in found.items()
        },
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }
    (out / "procvid.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return facts


if __name__ == "__main__":
    raise SystemExit(main())
