"""Every hook has a test here: registration hooks through discovery, event hooks through the observer."""

import re
from pathlib import Path

import pytest

from lwm_core.curriculum import Stage
from lwm_core.evaluate.base import Evaluation
from lwm_core.train.observer import (
    CheckpointSaved,
    Evaluated,
    GateDecided,
    RunFailed,
    RunFinished,
    RunStarted,
    StageStarted,
    StepFinished,
    StepGuarded,
)
from lwm_registry import Catalog, Recipe, compose, hookspecs
from lwm_registry.discovery import HOOKS, discover, load
from lwm_registry.events import HOOK_OF, HookObserver, listeners


STAGE = Stage("s", 8, 1e4, 1, 1, 1e-3, mixture={"a": 1.0})
EVENTS = {
    "lwm_run_started": RunStarted(Path("out"), 2, 0),
    "lwm_stage_started": StageStarted(STAGE, 0, "dense"),
    "lwm_step_finished": StepFinished(1, "s", 1, 0.1, 8, {"loss": 1.0}),
    "lwm_step_guarded": StepGuarded(1, "s", 1, "skip", "spike.", "layer 0", (), (), Path("out/guard/step-1")),
    "lwm_evaluated": Evaluated(1, "s", "text", Evaluation("text", (), {"loss": 1.0})),
    "lwm_gate_decided": GateDecided(1, "s", 1, "advance", "every gate holds.", ()),
    "lwm_checkpoint_saved": CheckpointSaved(Path("out/step"), 1),
    "lwm_run_finished": RunFinished(Path("out"), 2),
    "lwm_run_failed": RunFailed(ValueError("x"), 1),
}


def plugin_of(name, implementation):
    module = type("Module", (), {implementation.__name__: staticmethod(implementation)})
    return load(name, f"{name}-dist", "2", lambda: module)


def listening(name, hook, heard):
    """A plugin that listens to one hook and writes down what it hears."""

    def hear(event):
        heard.append((name, event))

    hear.__name__ = hook
    return plugin_of(name, hookspecs.hookimpl(hear))


@pytest.mark.parametrize("hook", EVENTS)
def test_an_event_reaches_its_hook_in_every_plugin_in_order(hook):
    heard = []
    plugins = [listening(name, hook, heard) for name in ("one", "two")]
    assert all(not plugin.error for plugin in plugins)
    observer = HookObserver(listeners(plugins))
    for name, event in EVENTS.items():
        observer.notify(event)
        if name == hook:
            assert heard == [("one", event), ("two", event)]
    assert len(heard) == 2


def test_a_hook_that_raises_stops_the_run_and_is_named():
    @hookspecs.hookimpl
    def lwm_step_finished(event):
        raise OSError("disk full")

    plugin = load(
        "loud", "loud-dist", "2", lambda: type("Module", (), {"lwm_step_finished": staticmethod(lwm_step_finished)})
    )
    with pytest.raises(OSError, match="disk full") as caught:
        HookObserver((plugin,)).notify(EVENTS["lwm_step_finished"])
    assert "lwm_step_finished of plugin 'loud' (loud-dist 2)" in caught.value.__notes__[0]


def test_a_composed_pipeline_tells_plugins_that_listen_and_only_then():
    small = {"tokenizer": "bytes", "model": {"use": "llama", "width": 32, "heads": 2, "ffn": 32}}
    heard = []
    catalog = Catalog([*discover({}), listening("one", "lwm_run_started", heard)])
    (observer,) = compose(small, catalog=catalog).observers
    observer.notify(EVENTS["lwm_run_started"])
    assert [name for name, _ in heard] == ["one"]
    assert not compose(small, catalog=Catalog(discover({"LWM_PLUGINS": "core,llama"}))).observers


def test_lwm_recipes_offers_a_recipe():
    @hookspecs.hookimpl
    def lwm_recipes():
        return [Recipe("mine", "some_package:mine.toml", "s"), Recipe("bad", "some_package:mine.yaml", "s")]

    catalog = Catalog([plugin_of("one", lwm_recipes)])
    assert [recipe.name for _, recipe in catalog.recipes()] == ["mine"]
    (broken,) = catalog.broken()
    assert (broken.kind, broken.name) == ("recipe", "bad") and "file.toml" in broken.error


def test_every_hook_has_an_example_and_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for hook in HOOKS:
        documentation = getattr(hookspecs, hook).__doc__
        assert re.search(rf"Example::\n\n.*@hookimpl\n.*def {hook}\(", documentation, re.DOTALL), hook
        assert re.search(rf"def {hook}\(|\"{hook}\": ", tests), f"{hook} has no test"
    assert set(HOOK_OF.values()) == set(EVENTS) == set(HOOKS) - {"lwm_components", "lwm_recipes", "lwm_interfaces"}
