"""`lwm evaluate`: every evaluator of a run's recipe, on its newest weights.

Owns how results are shown, and measures nothing itself.
"""

from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import opened, print_json, print_table
from lwm_registry.errors import RegistryError


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Summaries and records as JSON.")] = False,
) -> None:
    """Measure a run's model with the evaluators of its recipe, or with others given as overrides.

    Example: lwm evaluate runs/first --json
    """
    pipeline = opened(run, overrides or ())
    if not pipeline.evaluators:
        raise RegistryError(
            f"The recipe of {run} names no evaluator: give one, such as evaluators.text.use=perplexity. "
            "`lwm plugins evaluator` lists them."
        )
    results = pipeline.evaluate()
    if as_json:
        facts = {n: {"summary": dict(e.summary), "records": [dict(r) for r in e.records]} for n, e in results.items()}
        print_json(facts)
        return
    rows = [(name, key, value) for name, found in results.items() for key, value in found.summary.items()]
    print_table(("evaluator", "measure", "value"), rows)
