"""One recipe trained in several ways over several seeds, and what the ways differ in.

Owns what an ablation is, its runs and the differences between them. An arm is a recipe with a few keys overridden;
runs of one seed begin with the same weights and draw the same documents, so that differences are paired.
"""

import math
import statistics
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lwm_registry.errors import RegistryError, UnknownName, did_you_mean, listed
from lwm_registry.pipelines import compose


HERE = Path(__file__).parent / "ablations"
KEYS = ("title", "recipe", "baseline", "measures", "arms")


@dataclass(frozen=True)
class Arm:
    """A way to train: dotted overrides of the recipe."""

    summary: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Ablation:
    """`measures` are "evaluator.number" of evaluators' summaries; differences are taken from arm `baseline`."""

    title: str
    recipe: str
    baseline: str
    measures: tuple[str, ...]
    arms: Mapping[str, Arm]


def named(given: str) -> Ablation:
    """The ablation of that name, or in that `.toml` file; raises `RegistryError` for one that is not well formed."""
    path = Path(given) if given.endswith(".toml") else HERE / f"{given}.toml"
    if not path.is_file():
        names = sorted(p.stem for p in HERE.glob("*.toml"))
        raise UnknownName(
            f"There is no ablation {given!r}.{did_you_mean(given, names)} There are {listed(names)}; or give the "
            "path of a .toml file."
        )
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path} is not TOML: {error}.") from error
    lacking = [key for key in KEYS if key not in tables]
    unknown = [key for key in tables if key not in KEYS]
    if lacking or unknown:
        raise RegistryError(f"{path} has keys {', '.join(tables)}: an ablation has exactly {', '.join(KEYS)}.")
    arms = {name: Arm(arm.get("summary", ""), arm.get("overrides", {})) for name, arm in tables["arms"].items()}
    if tables["baseline"] not in arms:
        raise RegistryError(f"{path}: baseline {tables['baseline']!r} is none of the arms, {listed(arms)}.")
    return Ablation(**{**tables, "measures": tuple(tables["measures"]), "arms": arms})


class _Counted:
    """An observer that adds up what a run trained on."""

    def __init__(self):
        self.totals = {"steps": 0, "documents": 0, "targets": 0, "tokens_computed": 0, "seconds": 0.0}

    def notify(self, event: Any) -> None:
        if hasattr(event, "metrics"):
            self.totals["steps"] += 1
            self.totals["documents"] += int(event.metrics["segments"])
            self.totals["targets"] += int(event.metrics["targets"])
            self.totals["tokens_computed"] += event.tokens
            self.totals["seconds"] += event.seconds


def run(ablation: Ablation, arm: str, seed: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Trains one arm with one seed and measures it: a record of plain numbers."""
    given = {**overrides, **ablation.arms[arm].overrides, "seed": seed}
    pipeline, counted = compose(ablation.recipe, given), _Counted()
    with tempfile.TemporaryDirectory() as folder:
        trained = replace(pipeline, observers=(*pipeline.observers, counted)).train(folder)
        found = {name: dict(evaluation.summary) for name, evaluation in trained.evaluate().items()}
    numbers = {f"{name}.{key}": value for name, summary in found.items() for key, value in summary.items()}
    for measure in ablation.measures:
        if measure not in numbers:
            raise UnknownName(
                f"No measure {measure!r}.{did_you_mean(measure, numbers)} The evaluators of {ablation.recipe} give "
                f"{listed(numbers)}."
            )
    measured = {measure: numbers[measure] for measure in ablation.measures}
    return {"arm": arm, "seed": seed, **counted.totals, "measures": measured}


def run_all(
    ablation: Ablation, seeds: Sequence[int], overrides: Mapping[str, Any], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The records of every arm and seed, seed by seed."""
    records = []
    for seed in seeds:
        for arm in ablation.arms:
            records.append(run(ablation, arm, seed, overrides))
            numbers = ", ".join(f"{name} {value:.4f}" for name, value in records[-1]["measures"].items())
            say(f"{arm}, seed {seed}: {numbers} ({records[-1]['seconds']:.0f} s)")
    return records


def summarised(ablation: Ablation, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each measure and arm its mean and spread over seeds, and the paired difference from the baseline.

    Spreads are sample standard deviations (None for one seed); `difference_low`, `difference_high` are the mean
    difference and twice its standard error to either side.
    """
    rows = []
    for measure in ablation.measures:
        base = {r["seed"]: r["measures"][measure] for r in records if r["arm"] == ablation.baseline}
        for arm in ablation.arms:
            own = {r["seed"]: r["measures"][measure] for r in records if r["arm"] == arm}
            mean, std = _spread(list(own.values()))
            row = {"measure": measure, "arm": arm, "seeds": len(own), "mean": mean, "std": std}
            if arm != ablation.baseline:
                row |= _difference([own[seed] - base[seed] for seed in own if seed in base])
            rows.append(row)
    return rows


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _difference(pairs: Sequence[float]) -> dict[str, Any]:
    mean, std = _spread(pairs)
    reach = None if std is None else 2 * std / math.sqrt(len(pairs))
    return {
        "difference_mean": mean,
        "difference_std": std,
        "difference_low": None if reach is None else mean - reach,
        "difference_high": None if reach is None else mean + reach,
        "above": sum(pair > 0 for pair in pairs),
    }
