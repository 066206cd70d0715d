"""What every source file keeps: a docstring, its size, real annotations, no eval, no pickle."""

import ast
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
FOLDERS = ("lwm_core", "registry", "plugins")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py"))
LONGEST, LONGEST_KERNEL = 400, 600


def label(path):
    return str(path.relative_to(ROOT))


def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_module_says_what_it_owns(path):
    said = (ast.get_docstring(tree_of(path)) or "").strip()
    assert said, "no module docstring"
    lines = [line for line in said.splitlines() if line.strip()]
    if path.name != "__init__.py":
        sentences = [part for part in said.replace("\n", " ").split(". ") if part.strip()]
        assert len(lines) >= 2 or len(sentences) >= 2, "one sentence: say what the file owns and what it does not"
    assert len(lines) <= 10, f"{len(lines)} lines: a module docstring has 2 to 8"


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=label)
def test_a_file_holds_one_idea(path):
    most = LONGEST_KERNEL if "lwm_pallas" in path.parts else LONGEST
    count = len(path.read_text("utf-8").splitlines())
    assert count <= most, f"{count} lines; the limit is {most}: split it by idea"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_no_string_annotations_no_eval_no_pickle(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", "the catalog builds parts from real types"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names} | {getattr(node, "module", "") or ""}
            pickles = names & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
            assert not pickles or "testing" in path.parts, f"line {node.lineno}: {pickles}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"line {node.lineno}: {node.func.id}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False


def test_every_folder_of_a_package_is_a_package():
    roots = [ROOT / "lwm_core", ROOT / "registry" / "lwm_registry", *(ROOT / "plugins").glob("lwm_*")]
    for folder in {path.parent for root in roots for path in root.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), f"{label(folder)} has no __init__.py"
