"""A plugin adds a kind of part: others offer parts of it, options take them by name, and its kit checks them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pytest

from lwm_registry import Catalog, Component, Interface, hookspecs
from lwm_registry.building import Builder
from lwm_registry.discovery import load
from lwm_registry.errors import BadOption, BrokenPlugin, UnknownName
from lwm_registry.testing import check_component


@runtime_checkable
class Judge(Protocol):
    def score(self, answer: str) -> float: ...


@dataclass(frozen=True)
class Strict:
    limit: float = 0.5

    def score(self, answer):
        return self.limit * len(answer)


class Mute:
    pass


@dataclass(frozen=True)
class Court:
    """A part whose option is a part of the plugin's kind."""

    judge: Judge

    def permutation(self, length, shards): ...


def check_judge(judge):
    assert judge.score("") == 0, "An empty answer is worth nothing."


HERE = __name__
JUDGE = Interface("judge", f"{HERE}:Judge", "scores an answer", f"{HERE}:check_judge")


def plugin(name, interfaces=(), components=()):
    """A plugin of these records."""

    @hookspecs.hookimpl
    def lwm_interfaces():
        return interfaces

    @hookspecs.hookimpl
    def lwm_components():
        return components

    hooks = {"lwm_interfaces": staticmethod(lwm_interfaces), "lwm_components": staticmethod(lwm_components)}
    return load(name, f"{name}-dist", "1", lambda: type("Module", (), hooks))


def test_anybody_offers_parts_of_a_kind_that_a_plugin_adds():
    components = [
        Component("judge", "strict", f"{HERE}:Strict", "For the test."),
        Component("judge", "mute", f"{HERE}:Mute", "Keeps no promise."),
        Component("curriculum", "court", f"{HERE}:Court", "Takes one."),
    ]
    # The one who offers comes first in order: kinds are known before any part is looked at.
    catalog = Catalog([plugin("a", components=components), plugin("b", interfaces=[JUDGE])])
    assert not catalog.broken() and list(catalog.kinds)[-1] == "judge" and catalog.names("judge") == ["mute", "strict"]
    assert catalog.build("judge", {"use": "strict", "limit": 2}) == Strict(2.0)
    assert catalog.data(Strict(2.0)) == {"use": "strict", "limit": 2.0}
    with pytest.raises(BrokenPlugin, match="it lacks score. A judge is a .*Judge"):
        catalog.build("judge", "mute")
    check_component(catalog.find("judge", "strict"), catalog)


def test_an_option_of_the_kind_takes_a_part_by_name():
    components = [
        Component("judge", "strict", f"{HERE}:Strict", "s"),
        Component("layout", "court", f"{HERE}:Court", "s"),
    ]
    catalog = Catalog([plugin("b", interfaces=[JUDGE], components=components)])

    made = Builder(catalog).construct(Court, {"judge": {"use": "strict", "limit": 3}}, "court", "Court")
    assert made.judge == Strict(3.0)
    with pytest.raises(UnknownName, match="no judge 'strikt'. Did you mean 'strict'"):
        Builder(catalog).construct(Court, {"judge": "strikt"}, "court", "Court")
    with pytest.raises(BadOption, match=r"needs the option 'judge' .* Give one of strict"):
        Builder(catalog).construct(Court, {}, "court", "Court")


def test_a_kind_that_nobody_adds_and_one_that_is_taken_are_broken_records():
    part = Component("judge", "strict", f"{HERE}:Strict", "s")
    taken = Interface("layout", f"{HERE}:Judge", "s", f"{HERE}:check_judge")
    odd = Interface("Judge!", f"{HERE}:Judge", "s", f"{HERE}:check_judge")
    catalog = Catalog([plugin("a", components=[part]), plugin("b", interfaces=[taken, odd])])
    said = {(record.kind, record.name): record.error for record in catalog.broken()}
    assert "no kind 'judge'" in said["judge", "strict"]
    assert "a kind 'layout' already" in said["interface", "layout"]
    assert "joined by underscores" in said["interface", "Judge!"]
    assert catalog.kinds["layout"].interface.startswith("lwm_core.")
