"""What the documents say is there, and nothing committed names a machine."""

import re
import subprocess
from pathlib import Path

from lwm_registry import catalog, cli
from lwm_registry.discovery import HOOKS
from lwm_registry.recipes import TABLES


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def tree():
    """The fenced block of README that shows the folders."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if block.startswith("lwm_core/"))


def test_the_tree_of_the_readme_has_every_package():
    listed = set(re.findall(r"^\s*([\w./]+)/ ", tree(), re.MULTILINE)) | {"lwm_core"}
    inner = {path.name for path in (ROOT / "lwm_core").iterdir() if (path / "__init__.py").is_file()}
    plugins = {path.name for path in (ROOT / "plugins").glob("lwm_*")}
    assert inner | plugins <= listed, sorted((inner | plugins) - listed)
    folders = inner | plugins | {"lwm_core", "registry/lwm_registry", "plugins", "assets", "tests"}
    assert listed <= folders, f"no such folder: {sorted(listed - folders)}"


def test_the_readme_names_every_command():
    for command in cli.COMMANDS:
        assert f"`lwm {command.__name__}" in README, command.__name__


def test_contributing_lists_every_hook_and_kind():
    for name in (*HOOKS, *catalog().kinds):
        assert f"`{name}`" in CONTRIBUTING, name


def test_the_page_on_recipes_lists_every_table_and_variable():
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    for name in TABLES:
        assert f"`{name}`" in page, name
    code = "".join(path.read_text("utf-8") for path in (ROOT / "registry").rglob("*.py"))
    for name in set(re.findall(r"LWM_(?:PLUGINS|TRACEBACK)\w*", code)):
        assert name in page, name


def test_what_the_documents_call_is_there():
    said = README + CONTRIBUTING
    for path in re.findall(r"`((?:tests|docs|registry|assets|plugins|lwm_core)/[\w./-]+)`", said):
        assert (ROOT / path).exists(), path
    recipes = {recipe.name for _, recipe in catalog().recipes()}
    for name in re.findall(r"lwm train ([a-z][\w-]*)", said):
        assert name in recipes, name


def test_no_committed_text_names_a_machine_path():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    machine = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
    for name in filter(None, files.split("\0")):
        path = ROOT / name
        if not path.is_file() or path == Path(__file__):
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found = machine.search(text)
        assert not found, f"{name} names {found.group(0)!r}..."
