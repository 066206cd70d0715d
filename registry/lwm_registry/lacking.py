"""What a recipe still needs before it can train here, all of it at once: data, tokenizers, weights, devices.

Owns the list for a person. Each part has its own message for what is wrong with it; this is about what is not there
at all, as in a published schedule, whose data and weights are the reader's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwm_registry.building import Builder
from lwm_registry.catalog import Catalog
from lwm_registry.conversion import Conversion
from lwm_registry.errors import RegistryError, listed
from lwm_registry.located import Table


def check_whole(name: str, tables: Table, catalog: Catalog, until: str | None = None) -> None:
    """Raises `RegistryError` with a line for everything that the recipe `name` lacks to train on this machine.

    - `until`: the last stage that is to be trained; None for all.
    """
    curriculum = None
    if "curriculum" in tables:
        curriculum = Builder(catalog).part("curriculum", tables["curriculum"], "curriculum")
    stages = () if curriculum is None else curriculum.stages
    names = [stage.name for stage in stages]
    stages = stages[: names.index(until) + 1] if until in names else stages
    lacks = [*_parts(tables, stages, catalog), *_weights(tables, curriculum, catalog)]
    lacks += [*_sources(tables, stages), *_devices(stages)]
    if lacks:
        lines = "\n".join(f"- {line}" for line in lacks)
        raise RegistryError(
            f"{name} cannot train here yet:\n{lines}\nPut them into a recipe of your own that begins with "
            f'extends = "{name}", or give them as overrides. `lwm describe {name}` shows its stages.'
        )


def _parts(tables: Table, stages: Sequence[Any], catalog: Catalog) -> list[str]:
    needed = {"tokenizer": "text_tokenizer", "model": "model", "curriculum": "curriculum", "packer": "packer"}
    if any("vision" in stage.modalities for stage in stages):
        needed["vision"] = "vision_tokenizer"
    return [
        f"{table}: none is given; names are {listed(catalog.names(kind))}."
        for table, kind in needed.items()
        if table not in tables
    ]


def _weights(tables: Table, curriculum: Any, catalog: Catalog) -> list[str]:
    if "weights" not in tables:
        return []
    path = Conversion(Builder(catalog)).convert(Path, tables["weights"], "weights")
    if path.exists():
        return []
    figures = getattr(curriculum, "figures", {})
    first = figures.get(curriculum.stages[0].name, {}) if figures else {}
    said = f", and the first stage starts from {first['init_from'].value}" if "init_from" in first else ""
    return [f"weights: there is nothing at {path}{said}; give a directory made by training or by `save`."]


def _sources(tables: Table, stages: Sequence[Any]) -> list[str]:
    given = tables.get("sources", {})
    drawn = [name for stage in stages for name in stage.mixture]
    missing = [name for name in dict.fromkeys(drawn) if name not in given]
    return [f"sources: no {', '.join(missing)}; give one [sources.NAME] for each."] if missing else []


def _devices(stages: Sequence[Any]) -> list[str]:
    """A mesh that this machine does not have; asked for only where a stage has one."""
    meshes = {tuple(stage.mesh): stage.name for stage in stages if stage.mesh}
    if not meshes:
        return []
    import jax

    from lwm_core.mesh import MeshSpec

    lacks = []
    for mesh, stage in meshes.items():
        try:
            MeshSpec(*mesh).make_within(jax.devices())
        except ValueError as error:
            lacks.append(f"devices: stage {stage} lies on mesh {list(mesh)} (dp, fsdp, tp, sp). {error}")
    return lacks[:1] + ([f"devices: {len(lacks) - 1} further meshes do not fit either."] if len(lacks) > 1 else [])
