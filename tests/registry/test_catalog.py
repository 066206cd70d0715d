"""Lookup: names, clashes, and imports that only happen on use."""

import sys

import pytest

from lwm_registry import Catalog, Component, catalog
from lwm_registry.discovery import Plugin
from lwm_registry.errors import BrokenPlugin, NameClash, UnknownName


LAYOUT = "lwm_core.layout.contiguous:Contiguous"


def plugin(name, *components, distribution="some-dist"):
    return Plugin(name, distribution, "1.0", components)


def test_a_clash_is_an_error_on_use_that_names_both_and_a_qualified_name_chooses():
    two = Catalog([plugin(n, Component("layout", "same", LAYOUT, "s")) for n in ("one", "two")])
    assert [record.state for record in two.list()] == ["ok", "ok"]
    with pytest.raises(NameClash, match=r"'one' of some-dist 1.0, plugin 'two'.*one:same, two:same"):
        two.build("layout", "same")
    part = two.build("layout", "two:same")
    assert two.find("layout", "one:same").plugin == "one"
    assert two.names("layout") == ["one:same", "two:same"]
    assert two.build("layout", two.data(part)) == part


def test_plugins_of_one_name_are_told_apart_by_distribution():
    component = Component("layout", "same", LAYOUT, "s")
    two = Catalog([plugin("p", component, distribution=d) for d in ("d-one", "d-two")])
    with pytest.raises(NameClash, match="d-one:same, d-two:same"):
        two.find("layout", "p:same")
    assert two.find("layout", "d-two:same").distribution == "d-two"


def test_unknown_names_say_what_there_is():
    with pytest.raises(UnknownName, match=r"no kind 'atention'\. Did you mean 'attention'\? The kinds are attention,"):
        catalog().build("atention", "dense")
    with pytest.raises(UnknownName, match=r"no attention 'dens'\. Did you mean 'dense'\? Installed: .*dense"):
        catalog().build("attention", {"use": "dens"})


def test_a_part_that_cannot_be_imported_is_an_error_of_its_own_use_only():
    parts = Catalog.of(
        Component("layout", "gone", "no_such_package.module:Thing", "s"),
        Component("layout", "function", "lwm_core.attention.base:require", "s"),
        Component("layout", "stranger", "lwm_core.text.bytes:ByteTokenizer", "s"),
        Component("layout", "fine", LAYOUT, "s"),
    )
    assert len(parts.list("layout")) == 4
    parts.build("layout", "fine")
    with pytest.raises(BrokenPlugin, match="'gone'.*No module named 'no_such_package'"):
        parts.build("layout", "gone")
    with pytest.raises(BrokenPlugin, match="no class"):
        parts.build("layout", "function")
    with pytest.raises(BrokenPlugin, match="not a layout"):
        parts.build("layout", "stranger")


def test_listing_imports_no_part():
    parts = Catalog.of(Component("layout", "never", "antigravity:Thing", "s"))
    parts.list()
    assert "antigravity" not in sys.modules


def test_the_catalog_is_made_once_and_holds_the_core():
    assert catalog() is catalog()
    record = catalog().find("attention", "dense")
    assert (record.plugin, record.distribution, record.state, record.error) == ("core", "lwm-jax", "ok", "")
