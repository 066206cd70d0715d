"""Importing any module touches no device; the light ones do not even import JAX. Each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
ROOTS = {"lwm_core": ROOT, "lwm_registry": ROOT / "registry"}
ROOTS |= {path.name: ROOT / "plugins" for path in (ROOT / "plugins").glob("lwm_*")}
REPORT = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
touched = False
if 'jax' in sys.modules:
    from jax._src import xla_bridge
    touched = xla_bridge.backends_are_initialized()
heavy = sorted({'jax', 'equinox', 'numpy', 'lwm_core'} & set(sys.modules))
print(json.dumps({'touched': touched, 'heavy': heavy}))
"""


def modules(package, folder):
    for path in sorted((folder / package).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] != "__main__" and not parts[-1].startswith("test_"):
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(*names):
    done = subprocess.run([sys.executable, "-c", REPORT, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_everything_touches_no_device():
    every = [name for package, folder in ROOTS.items() for name in modules(package, folder)]
    assert len(every) > 100
    assert not imported(*every)["touched"]


def test_plugin_modules_and_the_registry_import_nothing_heavy():
    light = [f"{package}.plugin" for package in ROOTS if package not in ("lwm_core", "lwm_registry")]
    assert imported("lwm_registry", "lwm_registry.builtin", "lwm_registry.cli", *light)["heavy"] == []


@pytest.mark.parametrize("package", ["vocab", "text", "data", "curriculum"])
def test_the_host_side_of_data_imports_no_jax(package):
    names = [name for name in modules("lwm_core", ROOT) if name.startswith(f"lwm_core.{package}")]
    assert not {"jax", "equinox"} & set(imported(*names)["heavy"])
