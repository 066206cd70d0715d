"""Makes distributions that look installed, so that discovery is tested through real metadata."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function `installed(distribution, {entry point: (module, source)}, version)`; undone after the test."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(distribution: str, plugins: dict[str, tuple[str, str]], version: str = "1.2") -> Path:
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}" for name, (module, _) in plugins.items()]
        (info / "entry_points.txt").write_text("[lwm]\n" + "\n".join(lines) + "\n")
        for module, source in plugins.values():
            monkeypatch.delitem(sys.modules, module, raising=False)
            (site / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        return site

    return install
