"""Forwards a run's events to the hooks of every plugin that listens.

Owns the map from event to hook. Plugins are called in the catalog's order; one that raises stops the run, as
any observer does, and the error names it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lwm_registry.discovery import Plugin


HOOK_OF = {
    "RunStarted": "lwm_run_started",
    "StageStarted": "lwm_stage_started",
    "StepFinished": "lwm_step_finished",
    "StepGuarded": "lwm_step_guarded",
    "Evaluated": "lwm_evaluated",
    "GateDecided": "lwm_gate_decided",
    "CheckpointSaved": "lwm_checkpoint_saved",
    "RunFinished": "lwm_run_finished",
    "RunFailed": "lwm_run_failed",
}


@dataclass(frozen=True)
class HookObserver:
    """An `Observer` that calls the event hooks of `plugins`, in their order."""

    plugins: tuple[Plugin, ...]

    def notify(self, event: Any) -> None:
        hook = HOOK_OF[type(event).__name__]
        for plugin in self.plugins:
            try:
                getattr(plugin.manager.hook, hook)(event=event)
            except Exception as error:
                error.add_note(f"raised by {hook} of plugin {plugin.name!r} ({plugin.distribution} {plugin.version})")
                raise


def listeners(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """The plugins that implement at least one event hook."""
    return tuple(plugin for plugin in plugins if plugin.manager is not None and _listens(plugin))


def _listens(plugin: Plugin) -> bool:
    return any(getattr(plugin.manager.hook, hook).get_hookimpls() for hook in HOOK_OF.values())
