"""The optimiser of a stage: AdamW with warm-up and a schedule, as the paper trains.

Owns the translation from a stage's numbers to an optax chain. Each stage starts with fresh moments.
"""

from dataclasses import dataclass

import optax

from lwm_core.curriculum import Stage


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019) after clipping by global norm; defaults are LWM's.

    - `accumulate`: micro-batches a step is cut into; the step's rows must divide by it.
    """

    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    accumulate: int = 1

    def build(self, stage: Stage) -> optax.GradientTransformation:
        """The chain for one stage."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(learning_rate(stage), b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay),
        )


def learning_rate(stage: Stage) -> optax.Schedule:
    """Linear warm-up from 0, then constant or a cosine down to `min_learning_rate` at the last step."""
    peak, floor = stage.learning_rate, stage.min_learning_rate
    floor = peak if floor is None else floor
    if stage.schedule == "constant":
        return optax.schedules.warmup_constant_schedule(0.0, peak, max(stage.warmup_steps, 1))
    if stage.schedule == "cosine":
        steps = max(stage.steps, stage.warmup_steps + 1)
        return optax.schedules.warmup_cosine_decay_schedule(0.0, peak, stage.warmup_steps, steps, floor)
    raise ValueError(f"Stage {stage.name!r}: no schedule {stage.schedule!r}: choose constant or cosine.")
