"""Every hook that a plugin may implement, each with an example. Standard library and pluggy only.

The registration hooks are called once, on discovery. The event hooks are called on the host, between
steps, in the order of (distribution, plugin); they never run inside a compiled function, and one that raises
stops the run with its own error. `event` is a record of `lwm_core.train.observer`.
"""

from collections.abc import Iterable
from typing import Any

import pluggy

from lwm_registry.records import Component, Interface, Recipe


GROUP = "lwm"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def lwm_components() -> Iterable[Component]:
    """The parts this plugin offers.

    Example::

        @hookimpl
        def lwm_components():
            yield Component("attention", "ring", "lwm_ring.ring:RingAttention", "Ring over a block kernel.")
    """
    return ()


@hookspec
def lwm_interfaces() -> Iterable[Interface]:
    """The kinds of part that this plugin adds: its own interfaces, for its own parts and for everybody's.

    Example::

        @hookimpl
        def lwm_interfaces():
            yield Interface("judge", "lwm_judge.base:Judge", "scores an answer", "lwm_judge.testing:check_judge")
    """
    return ()


@hookspec
def lwm_recipes() -> Iterable[Recipe]:
    """The recipes this plugin ships; a recipe's file lies inside the plugin's package.

    Example::

        @hookimpl
        def lwm_recipes():
            yield Recipe("lwm-text-1m", "lwm_stages:recipes/lwm-text-1m.toml", "The paper's text schedule.")
    """
    return ()


@hookspec
def lwm_run_started(event: Any) -> None:
    """A run starts or resumes; `event` is a `RunStarted`: `out`, `steps`, `done`, `recipe`.

    Example::

        @hookimpl
        def lwm_run_started(event):
            (event.out / "host.txt").write_text(platform.node())
    """


@hookspec
def lwm_stage_started(event: Any) -> None:
    """A stage starts; `event` is a `StageStarted`: `stage`, `index`, `attention`, `left_out`.

    Example::

        @hookimpl
        def lwm_stage_started(event):
            print(event.stage.name, event.stage.sequence_length, event.attention)
    """


@hookspec
def lwm_step_finished(event: Any) -> None:
    """A step is done; `event` is a `StepFinished`: `step`, `stage`, `seconds`, `tokens`, `metrics`, `utilisation`.

    Example::

        @hookimpl
        def lwm_step_finished(event):
            dashboard.log(event.metrics, step=event.step)
    """


@hookspec
def lwm_step_guarded(event: Any) -> None:
    """A step was refused by the guard; `event` is a `StepGuarded`: `verdict`, `reason`, `layer`, `documents`, `batch`.

    Example::

        @hookimpl
        def lwm_step_guarded(event):
            chat.post(f"step {event.step}: {event.verdict}, since {event.reason} ({event.layer}); see {event.batch}")
    """


@hookspec
def lwm_evaluated(event: Any) -> None:
    """An evaluator measured for a gate; `event` is an `Evaluated`: `evaluator`, `evaluation`, `draw`.

    Example::

        @hookimpl
        def lwm_evaluated(event):
            dashboard.log(event.evaluation.summary, step=event.step)
    """


@hookspec
def lwm_checkpoint_saved(event: Any) -> None:
    """A checkpoint is whole on disk; `event` is a `CheckpointSaved`: `path`, `step`.

    Example::

        @hookimpl
        def lwm_checkpoint_saved(event):
            bucket.upload(event.path)
    """


@hookspec
def lwm_gate_decided(event: Any) -> None:
    """A gated stage ended and was judged; `event` is a `GateDecided`: `stage`, `verdict`, `reason`, `evidence`.

    Example::

        @hookimpl
        def lwm_gate_decided(event):
            chat.post(f"{event.stage}: {event.verdict}, since {event.reason}")
    """


@hookspec
def lwm_run_finished(event: Any) -> None:
    """All stages are done; `event` is a `RunFinished`: `out`, `step`.

    Example::

        @hookimpl
        def lwm_run_finished(event):
            mail("done", str(event.out))
    """


@hookspec
def lwm_run_failed(event: Any) -> None:
    """A run stops on an error, which is raised again afterwards; `event` is a `RunFailed`: `error`, `step`.

    Example::

        @hookimpl
        def lwm_run_failed(event):
            mail("failed", f"step {event.step}: {event.error}")
    """
