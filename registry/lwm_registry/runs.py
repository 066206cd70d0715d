"""A run's directory back to a pipeline.

Owns what a run must hold (`recipe.json`, and checkpoints under `checkpoints/`) and the comparison of the
versions that made it with those installed now. Arrays are read later, by the pipeline itself.
"""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwm_registry.catalog import Catalog
from lwm_registry.catalog import catalog as installed
from lwm_registry.errors import RegistryError, RunDiffers
from lwm_registry.located import Table
from lwm_registry.pipelines import compose
from lwm_registry.recipes import read


if TYPE_CHECKING:
    import lwm_core.pipeline


def load(
    run: str | Path, overrides: Mapping[str, Any] | None = None, *, catalog: Catalog | None = None
) -> "lwm_core.pipeline.Pipeline":
    """The pipeline of a run, with the weights of its newest checkpoint.

    **Arguments:**

    - `run`: the directory that training was given as `out`, or one checkpoint's own directory;
    - `overrides`: as in `compose`; a part that is not in the weights may be another one.

    Warns with `RunDiffers` when other plugins or versions made it, or when a source or evaluator was an object of no
    plugin, which is left out unless an override gives it. Raises `RegistryError` naming what is
    missing.
    """
    folder = Path(run)
    chosen = catalog or installed()
    tables = read(_recipe(folder), chosen, overrides)
    gone = _without_objects(tables)
    pipeline = compose(tables, catalog=chosen)
    here = (folder / "manifest.json").is_file()
    newest = folder if here else pipeline.checkpoint.latest(folder / "checkpoints")
    if newest is None:
        raise RegistryError(
            f"{folder / 'checkpoints'} holds no whole checkpoint yet: the run stopped before its first save. "
            "Start it again with `lwm train`, into a fresh folder."
        )
    manifest = pipeline.checkpoint.manifest(newest)
    # An override changes parts on purpose; what both have is compared all the same.
    now = {part: v for part, v in pipeline.plugins.items() if part in manifest.plugins or not overrides}
    then = {part: v for part, v in manifest.plugins.items() if part in now or not overrides}
    differences = gone + compared(then, now)
    if not differences and not overrides and manifest.fingerprint not in ("", pipeline.fingerprint):
        differences = ["the same recipe now resolves to other options: defaults or paths have changed"]
    if differences:
        warnings.warn(f"{newest} was made by other parts: {'; '.join(differences)}.", RunDiffers, stacklevel=2)
    return dataclasses.replace(pipeline, weights=newest)


def _without_objects(tables: Table) -> list[str]:
    """Takes out sources and evaluators that were objects of no plugin, and says which: a model needs neither."""
    gone = []
    for table in ("sources", "evaluators"):
        for name, spec in list(tables.get(table, {}).items()):
            if isinstance(spec, Mapping) and "object" in spec and "use" not in spec:
                del tables[table][name]
                gone.append(f"{table}.{name} was a {spec['object']}, which is a part of no plugin, and is left out")
    return gone


def compared(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One sentence for each part that is not as it was; empty when all are."""
    gone = [f"{part} {then[part]} is not used now" for part in then if part not in now]
    new = [f"{part} {now[part]} is new" for part in now if part not in then]
    both = [part for part in then if part in now and then[part] != now[part]]
    return sorted(gone + new + [f"{part} was {then[part]}, is {now[part]}" for part in both])


def _recipe(folder: Path) -> Path | dict[str, Any]:
    """The recipe of a run, or the one that a lone checkpoint carries."""
    if not folder.is_dir():
        raise RegistryError(f"There is no folder {str(folder)!r} (seen from {Path.cwd()}): give a run's folder.")
    written = folder / "recipe.json"
    if written.is_file():
        if written.read_text("utf-8").strip() == "{}":
            raise RegistryError(
                f"{written} is empty: the run was made by a program, with no recipe. Build its pipeline there, or "
                f"`compose` one, and set `weights` to {folder / 'checkpoints'}."
            )
        return written
    manifest = folder / "manifest.json"
    recipe = _held(manifest).get("recipe") if manifest.is_file() else None
    if not recipe:
        raise RegistryError(
            f"{folder} is no run: recipe.json and checkpoints/ are expected in it. "
            f"`lwm train RECIPE --out {folder}` makes one."
        )
    return recipe


def _held(manifest: Path) -> dict[str, Any]:
    try:
        return json.loads(manifest.read_text("utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise RegistryError(
            f"{manifest} is damaged ({error}): bring the file back, or give another checkpoint."
        ) from error
