"""Events as named numbers and sentences, the same for every dashboard.

Owns the names. Those of a step's metrics are kept as they are, since `lwm_core.train.step` gives them; a dashboard
groups them by what stands before the first slash.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lwm_core.train.observer import Evaluated, GateDecided, RunFailed, StepFinished, StepGuarded


def scalars_of(event: StepFinished) -> dict[str, float]:
    """The finite metrics of a step, and under `speed/` what it did a second."""
    speed = {
        "speed/seconds": event.seconds,
        "speed/tokens_per_second": event.tokens / event.seconds if event.seconds else None,
        "speed/flops_per_second": event.flops_per_second,
        "speed/utilisation": event.utilisation,
    }
    every = {**event.metrics, **speed}
    return {name: float(value) for name, value in every.items() if value is not None and math.isfinite(value)}


def measures_of(event: Evaluated) -> dict[str, float]:
    """The finite numbers of an evaluation's summary, as `evaluate/EVALUATOR/PLACE`."""
    found = _leaves(event.evaluation.summary, f"evaluate/{event.evaluator}")
    return {name: float(v) for name, v in found if isinstance(v, int | float) and math.isfinite(v)}


def settings_of(recipe: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """A recipe's options by dotted name, those of long lists left out: what runs are told apart by."""
    found = _leaves(recipe, "", ".")
    return {name: value for name, value in found if isinstance(value, bool | int | float | str) and value != ""}


def sentence_of(event: StepGuarded | GateDecided | RunFailed) -> str:
    """What happened, in one line."""
    if isinstance(event, RunFailed):
        return f"step {event.step}: {type(event.error).__name__}: {event.error}"
    where = f" ({event.layer})" if isinstance(event, StepGuarded) else ""
    return f"step {event.step}, stage {event.stage}: {event.verdict}: {event.reason}{where}"


def _leaves(value: Any, name: str, joint: str = "/") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{name}{joint}{key}" if name else str(key), joint)
    elif not isinstance(value, list | tuple):
        yield name, value
