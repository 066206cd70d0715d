"""The layers hold, and no plugin folder was forgotten where plugins are listed."""

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path


ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("lwm_*") if path.is_dir())


def contracts():
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def test_the_layers_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_plugin_is_in_the_contracts():
    parser = contracts()
    roots = parser["importlinter"]["root_packages"].split()
    top = parser["importlinter:contract:layers"]["layers"].strip().splitlines()[0]
    light = parser["importlinter:contract:light-plugins"]["source_modules"].split()
    assert sorted(set(roots) - {"lwm_core", "lwm_registry"}) == PLUGINS
    assert sorted(name.strip() for name in top.split("|")) == PLUGINS
    assert {f"{name}.plugin" for name in PLUGINS} <= set(light)


def test_every_plugin_has_its_entry_point_and_a_light_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["lwm"]
    assert entries == {"core": "lwm_registry.builtin", **{name[4:]: f"{name}.plugin" for name in PLUGINS}}
    for name in PLUGINS:
        assert (ROOT / "plugins" / name / "plugin.py").is_file(), f"{name} has no plugin.py"
