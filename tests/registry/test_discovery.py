"""Discovery: order, isolation, and what each kind of broken plugin says."""

import pytest

from lwm_registry.catalog import Catalog
from lwm_registry.discovery import discover
from lwm_registry.errors import BrokenPlugin


GOOD = """
from lwm_registry import Component, hookimpl
@hookimpl
def lwm_components():
    yield Component("layout", "{name}", "lwm_core.layout.contiguous:Contiguous", "For the test.")
"""
RAISES = "raise OSError('no such driver')"
EXITS = "raise SystemExit(3)"
MISSPELT = GOOD.replace("lwm_components", "lwm_component")
UNDECORATED = "def lwm_components(): return []"
LATE = """
from lwm_registry import Component, hookimpl
@hookimpl
def lwm_components():
    yield Component("layout", "x", "a:B", "s")
    raise ZeroDivisionError("late")
"""
NOT_A_RECORD = "from lwm_registry import hookimpl\n@hookimpl\ndef lwm_components(): return [{'kind': 'layout'}]"
EXTRA_ARGUMENT = "from lwm_registry import hookimpl\n@hookimpl\ndef lwm_run_started(event, more): ..."


def found(plugins, name):
    return next(plugin for plugin in plugins if plugin.name == name)


@pytest.mark.parametrize(
    "source, words",
    [
        (RAISES, ("OSError", "no such driver")),
        (EXITS, ("SystemExit", "3")),
        (MISSPELT, ("lwm_component'", "Did you mean 'lwm_components'?", "lwm_step_finished")),
        (UNDECORATED, ("no hook", "@hookimpl")),
        (LATE, ("ZeroDivisionError", "late")),
        (NOT_A_RECORD, ("Component records", "'kind': 'layout'")),
        (EXTRA_ARGUMENT, ("more",)),
    ],
)
def test_a_broken_plugin_becomes_a_record_and_stops_nobody(installed, source, words):
    installed("bad-dist", {"bad": ("bad_plugin_module", source)})
    installed("good-dist", {"good": ("good_plugin_module", GOOD.format(name="fine"))})
    catalog = Catalog(discover({}))
    (record,) = [r for r in catalog.broken() if r.plugin == "bad"]
    assert (record.kind, record.distribution, record.version, record.state) == ("plugin", "bad-dist", "1.2", "broken")
    for word in words:
        assert word in record.error
    assert catalog.find("layout", "fine").plugin == "good"


def test_the_error_of_a_broken_plugin_is_quoted_where_its_part_is_missed(installed):
    installed("bad-dist", {"bad": ("bad_plugin_module", RAISES)})
    with pytest.raises(ValueError, match=r"(?s)no layout 'zigzagg'.*'bad' of bad-dist 1.2 is broken.*no such driver"):
        Catalog(discover({})).build("layout", "zigzagg")


def test_one_bad_record_leaves_the_others_of_its_plugin(installed):
    source = GOOD.format(name="fine") + (
        '    yield Component("layuot", "x", "a:B", "s")\n'
        '    yield Component("layout", "Bad Name", "a:B", "s")\n'
        '    yield Component("layout", "far", "nowhere", "s")\n'
        '    yield Component("layout", "twin", "a:B", "s")\n'
        '    yield Component("layout", "twin", "a:C", "s")\n'
    )
    installed("mixed-dist", {"mixed": ("mixed_plugin_module", source)})
    records = [r for r in Catalog(discover({})).list() if r.plugin == "mixed"]
    errors = {r.name: r.error for r in records if r.state == "broken"}
    assert [r.name for r in records if r.state == "ok"] == ["fine"]
    assert "Did you mean 'layout'?" in errors["x"] and "attention" in errors["x"]
    assert "lower-case" in errors["Bad Name"]
    assert "package.module:Class" in errors["far"]
    assert "twice" in errors["twin"]


def test_order_is_by_distribution_then_entry_point(installed):
    installed("zz-dist", {"a": ("zz_a_module", GOOD.format(name="one"))})
    installed("aa-dist", {"z": ("aa_z_module", GOOD.format(name="two")), "b": ("aa_b_module", GOOD.format(name="b"))})
    ours = [(p.distribution, p.name) for p in discover({}) if p.distribution in ("zz-dist", "aa-dist")]
    assert ours == [("aa-dist", "b"), ("aa-dist", "z"), ("zz-dist", "a")]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"LWM_PLUGINS": "core, one"}, {"core", "one"}),
        ({"LWM_PLUGINS": ""}, set()),
        ({"LWM_PLUGINS": "extra-dist"}, {"one", "two"}),
        ({"LWM_PLUGINS": "one,two", "LWM_PLUGINS_BLOCK": "two"}, {"one"}),
    ],
)
def test_allow_and_block_lists(installed, environment, expected):
    sources = {name: (f"{name}_plugin_module", GOOD.format(name=name)) for name in ("one", "two")}
    installed("extra-dist", sources)
    assert {plugin.name for plugin in discover(environment)} == expected


def test_strict_raises_at_a_broken_plugin(installed):
    installed("bad-dist", {"bad": ("bad_plugin_module", RAISES)})
    with pytest.raises(BrokenPlugin, match="bad-dist.*no such driver"):
        discover({"LWM_PLUGINS": "bad", "LWM_PLUGINS_STRICT": "1"})


def test_relative_paths_of_an_example_start_from_the_plugin(installed):
    source = GOOD.format(name="fine").replace('"For the test."', '"For the test.", {"path": "x.txt"}')
    site = installed("some-dist", {"some": ("some_plugin_module", source)})
    catalog = Catalog(discover({}))
    example = catalog.example(catalog.find("layout", "fine"))
    assert example["use"] == "some:fine"
    assert example["path"].path == site / "x.txt"
