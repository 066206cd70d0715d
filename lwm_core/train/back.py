"""Going back: where a run goes on when its guard rolls it back, and what is written down of it.

Owns the record. When to go back is the guard's decision, the weights and moments are those of a checkpoint, and `run`
takes them up from there. The decision is part of the next checkpoint, which is made at once.
"""

from dataclasses import replace

from lwm_core.train.observer import StepGuarded
from lwm_core.train.place import Place


class GoBack(Exception):
    """Ends a stage's steps: the one that led to `place` was refused, and its guard says to roll back."""

    def __init__(self, place: Place, event: StepGuarded):
        super().__init__(event.reason)
        self.place, self.event = place, event


def gone_back(place: Place, event: StepGuarded, to: Place, rows: int) -> tuple[Place, StepGuarded]:
    """Where the run goes on from the weights of `to`, and what to tell of it.

    Steps keep counting from `place`, and so does the stream: the rows of the refused step and of those between are
    passed over. The history of losses is that of the weights.

    - `rows`: of a step.
    """
    first, end = (at.stage_step + at.guard.passed for at in (to, place))
    decision = {
        "stage": event.stage,
        "step": place.step,
        "stage_step": place.stage_step,
        "to_step": to.step,
        "to_stage_step": to.stage_step,
        "reason": event.reason,
        "layer": event.layer,
        "rows": [first * rows, end * rows],
        "batch": event.batch.name,
    }
    guard = replace(
        to.guard,
        refused=0,
        roll_backs=place.guard.roll_backs + 1,
        passed=end - to.stage_step,
        decisions=(*place.guard.decisions, decision),
    )
    on = replace(to, step=place.step, stream=place.stream, gates=place.gates, guard=guard)
    more = place.stage_step - to.stage_step
    return on, replace(event, to_step=to.step, rows=(first * rows, end * rows), more=more)
