"""Recipe text: names and files, what extends what, overrides, and the places that paths start from."""

import copy
import pickle
from pathlib import Path

import pytest

from lwm_registry import Catalog, Recipe, catalog
from lwm_registry.discovery import Plugin
from lwm_registry.errors import NameClash, RegistryError, UnknownName
from lwm_registry.located import Located, bare
from lwm_registry.recipes import TABLES, nested, read


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_lies_over_what_it_extends_and_overrides_over_both(tmp_path):
    write(
        tmp_path / "deep/base.toml",
        'seed = 1\n[sources.a]\nuse = "text"\npaths = ["a.txt"]\n[model]\nuse = "m"\nwidth = 2',
    )
    top = write(
        tmp_path / "top.toml",
        'extends = "deep/base.toml"\nsave_every = 5\n[sources.b]\nuse = "text"\npaths = ["b.txt"]',
    )
    tables = read(top, catalog(), {"seed": 7, "model.width": 3, "sources.b.split": "files"})
    assert bare(tables) == {
        "seed": 7,
        "save_every": 5,
        "model": {"use": "m", "width": 3},
        "sources": {
            "a": {"use": "text", "paths": ["a.txt"]},
            "b": {"use": "text", "paths": ["b.txt"], "split": "files"},
        },
    }
    assert tables["sources"]["a"]["paths"][0].path == tmp_path / "deep/a.txt"
    assert tables["sources"]["b"]["paths"][0].path == tmp_path / "b.txt"


def test_an_override_path_starts_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read({}, catalog(), {"weights": "w"})["weights"].path == tmp_path / "w"


def test_overrides_meet_short_and_long_tables():
    assert nested({"attention": "ring", "attention.kernel.use": "blockwise"}) == {
        "attention": {"use": "ring", "kernel": {"use": "blockwise"}}
    }
    tables = read({"attention": {"use": "local", "kernel": "blockwise"}}, catalog(), {"attention.kernel.size": 4})
    assert bare(tables)["attention"] == {"use": "local", "kernel": {"use": "blockwise", "size": 4}}
    tables = read({"attention": {"use": "local", "layout": "zigzag"}}, catalog(), {"attention": "ring"})
    assert bare(tables)["attention"] == {"use": "ring", "layout": "zigzag"}
    assert tables["attention"].inherited == {"layout"}


def test_an_override_reaches_into_a_list():
    recipe = {"curriculum": {"use": "staged", "stages": [{"steps": 1}, {"steps": 2, "rows": 3}]}}
    tables = read(recipe, catalog(), {"curriculum.stages.1.steps": 9, "curriculum.stages.0.rows": 4})
    assert bare(tables)["curriculum"]["stages"] == [{"steps": 1, "rows": 4}, {"steps": 9, "rows": 3}]
    with pytest.raises(RegistryError, match=r"stages\.2: stages has 2 entries"):
        read(recipe, catalog(), {"curriculum.stages.2.steps": 9})


@pytest.mark.parametrize(
    "given, words",
    [
        ({"modle": {}}, ("no table or key 'modle'", "Did you mean 'model'?", "curriculum")),
        ("tiny-txt", ("no recipe 'tiny-txt'", "Did you mean 'tiny-text'?", ".toml file")),
        ("missing.toml", ("no recipe file 'missing.toml'", "seen from")),
        ({"extends": 3}, ("extends = 3",)),
        ({"extends": "nowhere"}, ("no recipe 'nowhere'",)),
    ],
)
def test_a_recipe_that_is_not_there_or_not_one(given, words):
    with pytest.raises(RegistryError) as error:
        read(given, catalog())
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.toml", "seed = = 3", ("a.toml is not TOML", "line 1")),
        ("a.json", "{,}", ("a.json is not JSON",)),
        ("a.json", "[1]", ("holds a list",)),
        ("a.toml", b"\xff\xfe", ("a.toml is not TOML", "utf-8")),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RegistryError) as error:
        read(path, catalog())
    for word in words:
        assert word in str(error.value)


def test_a_ring_of_recipes_is_named(tmp_path):
    write(tmp_path / "a.toml", 'extends = "b.toml"')
    write(tmp_path / "b.toml", 'extends = "a.toml"')
    with pytest.raises(RegistryError, match=r"b\.toml → .*a\.toml → .*b\.toml"):
        read(tmp_path / "a.toml", catalog())


def test_recipes_of_two_plugins_that_share_a_name_clash(tmp_path):
    plugins = [
        Plugin(name, f"{name}-dist", "1", recipes=(Recipe("same", "lwm_registry:recipes/tiny-text.toml", "s"),))
        for name in ("one", "two")
    ]
    with pytest.raises(NameClash, match="one:same, two:same"):
        read("same", Catalog(plugins))
    assert read("two:same", Catalog(plugins))["seed"] == 0
    lost = Plugin("three", "three-dist", "1", recipes=(Recipe("lost", "lwm_registry:recipes/lost.toml", "s"),))
    with pytest.raises(RegistryError, match="should be the file recipes/lost.toml of package lwm_registry"):
        read("lost", Catalog([lost]))


def test_unknown_override_is_an_unknown_table():
    with pytest.raises(UnknownName, match="Did you mean 'attention'"):
        read({}, catalog(), {"attenton.use": "ring"})


def test_every_shipped_recipe_can_be_read_and_says_what_it_does():
    recipes = [recipe.name for _, recipe in catalog().recipes()]
    assert {"tiny-text", "tiny-world"} <= set(recipes)
    for name in recipes:
        assert read(name, catalog())["summary"], name


def test_every_table_says_what_it_is():
    assert all(TABLES.values())


def test_a_located_text_keeps_its_place_when_copied_or_sent_to_a_worker():
    text = Located("a.txt", Path("/deep"))
    for again in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert (again, again.path) == ("a.txt", Path("/deep/a.txt"))
