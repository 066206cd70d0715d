"""Recipes as data: find one, read it, lay it over what it extends, and lay overrides on top.

Owns the tables that a recipe may have and every message about a recipe's text. It builds no part: that is
`pipelines`'. Relative paths in a file start from that file's folder, those of a dict or an override from the
working directory.
"""

import importlib.util
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_registry.errors import RegistryError, UnknownName, did_you_mean, listed
from lwm_registry.located import Located, Table, located, merged


TABLES: dict[str, str] = {
    "summary": "one sentence for people",
    "extends": "a recipe, by name or file, that this one is laid over",
    "seed": "of weights and data order",
    "save_every": "steps between checkpoints, besides the one at each stage's end",
    "weights": "a checkpoint, or a run's checkpoints folder, to start from",
    "tokenizer": "a text_tokenizer",
    "vision": "a vision_tokenizer, and `weights`, the file it is restored from",
    "modality": "a list of further id ranges: name, size, markers",
    "model": "a model",
    "attention": "an attention, for all blocks of the model",
    "rope": "a rope, for all blocks of the model",
    "curriculum": "a curriculum",
    "sources": "name → source",
    "packer": "a packer; its length is each stage's",
    "objective": "an objective",
    "placement": "pattern of weights' paths → their logical axes, where they are to lie otherwise than they declare",
    "optimizer": "an optimizer; adamw where `use` is left out",
    "guard": "the options of `lwm_core.train.guard.Guard`: what is done about a loss that is not finite or jumps",
    "sampler": "a sampler",
    "checkpoint": "a checkpoint",
    "evaluators": "name → evaluator",
    "trainer": "a trainer, which trains something other than a sequence model and needs no other table",
    "observers": "name → observer, in the order they are told",
    "plugins": "which versions made a run (written by training, compared on loading)",
    "fingerprint": "of the recipe and those versions (likewise)",
}

# What a person may give as a recipe: a name, a file, or the tables themselves.
Given = str | Path | Mapping[str, Any]


def read(given: Given, catalog: Any, overrides: Mapping[str, Any] | None = None) -> Table:
    """The tables of a recipe with everything it extends and the dotted overrides, checked for known names."""
    tables = _over_base(_tables(given, catalog), catalog, ())
    laid = merged(tables, located(nested(overrides or {}), Path.cwd()))
    for name in laid:
        if name not in TABLES:
            raise UnknownName(
                f"A recipe has no table or key {name!r}.{did_you_mean(name, TABLES)} It has {', '.join(TABLES)}."
            )
    return laid


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"attention.kernel.block_q": 512}` as tables within tables."""
    tables: dict[str, Any] = {}
    for key, value in dotted.items():
        *path, last = key.split(".")
        place = tables
        for step in path:
            below = place.get(step, {})
            place[step] = below if isinstance(below, dict) else {"use": below}
            place = place[step]
        both = isinstance(place.get(last), dict) and isinstance(value, Mapping)
        place[last] = {**place[last], **value} if both else value
    return tables


def _tables(given: Given, catalog: Any) -> Table:
    """The tables as written, every text with its place."""
    if isinstance(given, Mapping):
        return located(given, Path.cwd())
    path = file_of(given, catalog)
    return located(_parsed(path), path.absolute().parent)


def _over_base(tables: Table, catalog: Any, seen: tuple[str, ...]) -> Table:
    base = tables.pop("extends", None)
    if base is None:
        return tables
    if not isinstance(base, Located):
        raise RegistryError(f"extends = {base!r}: give the name or the file of one recipe.")
    if _is_file(base):
        base = str(base.path)
    if base in seen:
        raise RegistryError(f"Recipes extend each other in a ring: {' → '.join((*seen, base))}. Cut it somewhere.")
    return merged(_over_base(_tables(str(base), catalog), catalog, (*seen, str(base))), tables)


def file_of(given: str | Path, catalog: Any) -> Path:
    """The file of a recipe, by name or path."""
    if isinstance(given, Path) or _is_file(given):
        path = Path(given)
        if not path.is_file():
            names = listed(recipe.name for _, recipe in catalog.recipes())
            raise RegistryError(
                f"There is no recipe file {str(path)!r} (seen from {Path.cwd()}): give a .toml file that is there, "
                f"or the name of a recipe. Installed: {names}."
            )
        return path
    package, _, file = catalog.recipe(given).target.partition(":")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [Path(folder, file) for folder in folders if Path(folder, file).is_file()]
    if not found:
        raise RegistryError(f"The recipe {given!r} should be the file {file} of package {package}, which lacks it.")
    return found[0]


def _is_file(given: str) -> bool:
    return given.endswith((".toml", ".json")) or "/" in given or "\\" in given


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        tables = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path} is not {path.suffix.lstrip('.').upper() or 'TOML'}: {error}.") from error
    if not isinstance(tables, dict):
        raise RegistryError(f"{path} holds a {type(tables).__name__}: a recipe is a set of tables.")
    return tables
