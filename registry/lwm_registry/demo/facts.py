"""Facts for the report: what each stage did, read from the run's metrics, and where it ran.

It measures nothing itself.
"""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def steps(out: Path) -> list[dict[str, Any]]:
    """Every step of the run, from `metrics.jsonl`."""
    lines = (json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["event"] == "StepFinished"]


def stage_facts(out: Path, stages) -> list[dict[str, Any]]:
    """One record per stage; losses are means over its first and its last quarter, since single steps are noisy."""
    done = steps(out)
    facts = []
    for stage in stages:
        mine = [step for step in done if step["stage"] == stage.name]
        losses = [step["loss"] for step in mine]
        few = max(1, len(losses) // 4)
        facts.append(
            {
                "name": stage.name,
                "sequence_length": stage.sequence_length,
                "rope_theta": stage.rope_theta,
                "modalities": list(stage.modalities),
                "steps": len(mine),
                "tokens": sum(step["tokens"] for step in mine),
                "seconds": round(sum(step["seconds"] for step in mine), 1),
                "first_loss": sum(losses[:few]) / few,
                "last_loss": sum(losses[-few:]) / few,
            }
        )
    return facts


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import jax

    packages = ("jax", "equinox", "optax", "lwm-jax")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()],
        "versions": {name: version(name) for name in packages},
    }
