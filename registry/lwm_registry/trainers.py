"""Recipes with a `[trainer]`: from a recipe to a run of its trainer, and back to that run.

Owns what lies beside such a run (`recipe.json`, as that of a pipeline) and the comparison of versions. What is
trained, and how, is the trainer's alone.
"""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwm_registry.building import Builder
from lwm_registry.catalog import Catalog
from lwm_registry.catalog import catalog as installed
from lwm_registry.errors import BadOption, RegistryError, RunDiffers, listed
from lwm_registry.pipelines import fingerprint
from lwm_registry.plain import Plain
from lwm_registry.recipes import Given, read
from lwm_registry.runs import compared


if TYPE_CHECKING:
    import lwm_core.train.trainer


TABLE = "trainer"
BESIDE = ("summary", "seed", "plugins", "fingerprint", TABLE)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trainer and the plain data that builds an equal one."""

    trainer: "lwm_core.train.trainer.Trainer"
    recipe: Mapping[str, Any]
    plugins: Mapping[str, str]

    def write(self, out: Path) -> None:
        """Writes `recipe.json` into `out`; raises `FileExistsError` where one is."""
        path = out / "recipe.json"
        if path.exists():
            raise FileExistsError(f"{out} already holds a run: `lwm resume {out}` goes on with it, or give another.")
        out.mkdir(parents=True, exist_ok=True)
        signed = {**self.recipe, "plugins": self.plugins, "fingerprint": fingerprint(self.recipe, self.plugins)}
        partial = path.with_name("recipe.json.partial")
        partial.write_text(json.dumps(signed, indent=1) + "\n", "utf-8")
        partial.replace(path)


def has_trainer(tables: Mapping[str, Any]) -> bool:
    """Whether this recipe is trained by a trainer of its own."""
    return TABLE in tables


def trainer_of(given: Given, overrides: Mapping[str, Any] | None = None, *, catalog: Catalog | None = None) -> Trained:
    """The trainer that a recipe describes; raises `RegistryError` for what is unknown, or of no use to a trainer."""
    chosen = catalog or installed()
    tables = read(given, chosen, overrides)
    if TABLE not in tables:
        raise BadOption(f"The recipe has no [{TABLE}]: names are {listed(chosen.names(TABLE))}.")
    odd = [name for name in tables if name not in BESIDE]
    if odd:
        raise BadOption(
            f"The recipe has a [{TABLE}] and {listed(odd)}: a trainer takes nothing but its own options. Move what it "
            f"needs into [{TABLE}], and the rest into a recipe of its own."
        )
    seed = tables.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise BadOption(f"seed = {seed!r}: give a whole number.")
    trainer = Builder(chosen, {"seed": seed}).part(TABLE, tables[TABLE], TABLE)
    writer = Plain(chosen)
    recipe = {"seed": seed, TABLE: writer.write(trainer, TABLE)}
    return Trained(trainer, recipe, dict(sorted(writer.versions.items())))


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run of a trainer."""
    written = folder / "recipe.json"
    return written.is_file() and has_trainer(_read(written))


def opened(folder: Path, *, catalog: Catalog | None = None) -> "lwm_core.train.trainer.Trainer":
    """The trainer of a run; warns with `RunDiffers` when other versions began it."""
    written = folder / "recipe.json"
    now = trainer_of(written, catalog=catalog)
    differences = compared(_read(written).get("plugins", {}), now.plugins)
    if differences:
        warnings.warn(f"{folder} was begun by other parts: {'; '.join(differences)}.", RunDiffers, stacklevel=2)
    return now.trainer


def _read(written: Path) -> dict[str, Any]:
    try:
        tables = json.loads(written.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{written} is not JSON ({error}): copy the run again.") from error
    return tables if isinstance(tables, dict) else {}
