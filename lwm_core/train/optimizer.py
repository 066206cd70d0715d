"""The optimiser of a stage: its interface, AdamW as the paper trains, and any chain of optax by name.

Owns the translation from a stage's numbers to an optax transformation. Each stage starts with fresh moments.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import optax

from lwm_core.curriculum import Stage


STAGE = "stage"  # as the value of an option: the stage's learning rate


@runtime_checkable
class Optimizer(Protocol):
    """Makes the optax transformation of each stage; it may be any, built by hand or by name."""

    @property
    def accumulate(self) -> int:
        """Micro-batches a step is cut into; the step's rows must divide by it."""
        ...

    def build(self, stage: Stage) -> optax.GradientTransformation:
        """Gradients of the mean loss to updates that are added to the weights; it is given the weights too."""
        ...


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

    def __post_init__(self):
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"optimizer.{name}={getattr(self, name)}: give 0 to 1, below 1; the paper has 0.9, 0.95."
                )
        for name in ("eps", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optimizer.{name}={getattr(self, name)}: give more than 0.")
        if not self.weight_decay >= 0:
            raise ValueError(f"optimizer.weight_decay={self.weight_decay}: give 0 or more.")

    def build(self, stage: Stage) -> optax.GradientTransformation:
        """The chain for one stage."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(learning_rate(stage), b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay),
        )


@dataclass(frozen=True)
class Chain:
    """Transformations of optax one after the other, each a table of its name and its options.

    - `chain`: such as `{name = "clip_by_global_norm", max_norm = 1.0}`, then `{name = "scale_by_lion", b2 = 0.98}`. An
      option that is "stage" is the stage's learning rate, `{name = "lion", learning_rate = "stage"}`; where none is,
      the chain ends in a step of that size downhill;
    - `accumulate`: micro-batches a step is cut into; the step's rows must divide by it.
    """

    chain: tuple[Mapping[str, Any], ...]
    accumulate: int = 1

    def __post_init__(self):
        if not self.chain:
            raise ValueError('optimizer.chain is empty: give transformations, such as [{name = "scale_by_adam"}].')
        for link in self.chain:
            _check_options(_transformation(link), link)

    def build(self, stage: Stage) -> optax.GradientTransformation:
        """The chain for one stage; raises `ValueError` for a name that makes no transformation."""
        rate = learning_rate(stage)
        made = [_made(link, rate) for link in self.chain]
        if not any(STAGE in link.values() for link in self.chain):
            made.append(optax.scale_by_learning_rate(rate))
        return optax.chain(*made)


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


def _transformation(link: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of optax that a link names: a public one of the package itself or of `optax.contrib`."""
    name = link.get("name")
    if not isinstance(name, str):
        raise ValueError(f"optimizer.chain holds {dict(link)}: say which transformation, as name = 'scale_by_adam'.")
    head, _, last = name.rpartition(".")
    home = {"": optax, "contrib": optax.contrib}.get(head)
    found = None if home is None or last.startswith("_") else getattr(home, last, None)
    if not inspect.isfunction(found):
        near = difflib.get_close_matches(name, [n for n in vars(optax) if not n.startswith("_")], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"optax has no transformation {name!r}.{hint}")
    return found


def _check_options(function: Callable[..., Any], link: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(**{key: value for key, value in link.items() if key != "name"})
    except TypeError as error:
        raise ValueError(f"optax.{link['name']}: {error}; it takes {inspect.signature(function)}.") from error


def _made(link: Mapping[str, Any], rate: optax.Schedule) -> optax.GradientTransformation:
    options = {key: rate if value == STAGE else value for key, value in link.items() if key != "name"}
    made = _transformation(link)(**options)
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"optax.{link['name']} makes a {type(made).__name__}, which transforms no gradients.")
    return made
