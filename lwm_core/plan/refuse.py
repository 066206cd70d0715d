"""Whether a stage can fit the machine at hand, asked before anything is made: the error an hour in, told at once.

Owns the refusal. What stays on a device (weights, moments, a batch) and what the policy holds on to is counted exactly,
which takes no time; only where that fills most of the memory is the step compiled ahead to know. A plan for a machine
that is not here is `plan`'s.
"""

from collections.abc import Sequence
from typing import Any

from lwm_core.mesh import MeshSpec
from lwm_core.plan.machine import here
from lwm_core.plan.plan import bytes_here, plan
from lwm_core.plan.work import Training
from lwm_core.train.feed import check_rows
from lwm_core.train.step import check_accumulate


NEARLY = 0.6  # of the limit, from which the compiler is asked; under it temporaries have room

SHORT = 2**14  # tokens of a micro-batch, under which a small model is not even traced


class DoesNotFit(ValueError):
    """A run needs more memory than its devices have."""


def check_fits(work: Training, devices: Sequence[Any]) -> None:
    """Raises `DoesNotFit`, with the plan, for a stage that those of `devices` which it uses cannot hold."""
    stage, accumulate = work.stage, work.optimizer.accumulate
    spec = MeshSpec(*(stage.mesh or (1, 1, 1, 1)))
    try:
        laid = spec.make_within(devices)
        check_accumulate(stage.rows, accumulate)
        check_rows(stage.rows // accumulate, laid)
        stays = {kind: bytes_here(tree) for kind, tree in work.resident(laid).items()}
    except ValueError:
        return  # sizes that do not match are said, with the stage's name, where stages are checked
    machine = here(tuple(laid.devices.flat))
    if machine.limit is None:
        return
    least = sum(stays.values())
    if least > machine.limit:
        parts = ", ".join(f"{kind} {size / 2**30:.2f}" for kind, size in stays.items())
        raise DoesNotFit(_told(work, f"GiB that stay on each device: {parts}", least, machine.limit))
    if least < machine.limit // 100 and stage.tokens_per_batch // accumulate < SHORT:
        return
    if least + sum(work.kept().values()) // machine.chips > NEARLY * machine.limit:
        made = plan(work, machine, spec)
        if not made.fits:
            raise DoesNotFit(_told(work, made.reason, made.peak_bytes_per_chip, machine.limit))


def _told(work: Training, why: str, needed: int | None, limit: int) -> str:
    needs = "more" if needed is None else f"at least {needed / 2**30:.2f} GiB"
    return (
        f"Stage {work.stage.name!r} does not fit: a device needs {needs} and has {limit / 2**30:.2f} GiB ({why}). "
        "Spread it over more devices (mesh), keep less (model.remat, optimizer.accumulate), or take a smaller model; "
        "`lwm plan RECIPE --fit` searches for a way, here or on another machine (--topology)."
    )
