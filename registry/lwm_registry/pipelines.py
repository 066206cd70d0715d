"""Recipes to pipelines, and pipelines back to recipes.

Owns the order in which parts are made, what they share, and the fingerprint. Reading recipe text is
`recipes`'s; training, sampling and evaluating are the pipeline's own. Nothing heavy is imported until a
pipeline is made.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwm_registry.building import Builder
from lwm_registry.catalog import Catalog
from lwm_registry.catalog import catalog as installed
from lwm_registry.conversion import Conversion
from lwm_registry.errors import BadOption, UnknownName, listed
from lwm_registry.events import HookObserver, listeners
from lwm_registry.located import Table
from lwm_registry.plain import Plain
from lwm_registry.recipes import Given, read


if TYPE_CHECKING:
    import lwm_core.pipeline


def compose(
    recipe: Given, overrides: Mapping[str, Any] | None = None, *, catalog: Catalog | None = None
) -> "lwm_core.pipeline.Pipeline":
    """The pipeline that a recipe describes.

    **Arguments:**

    - `recipe`: a recipe's name, the path of a `.toml` or `.json` file, or the tables as a dict;
    - `overrides`: dotted keys, such as `{"attention.use": "ring", "seed": 3}`. A new `use` keeps the options
      that the new part has too;
    - `catalog`: where names are looked up; what is installed, if not given.

    Raises `RegistryError` for an unknown name, a clash, or an option of the wrong type.
    """
    chosen = catalog or installed()
    return Composer(chosen, read(recipe, chosen, overrides)).pipeline()


@dataclasses.dataclass(frozen=True)
class Composer:
    """Builds the parts of one recipe, in order; what is built early is shared with what comes later."""

    catalog: Catalog
    tables: Table
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def pipeline(self) -> "lwm_core.pipeline.Pipeline":
        from lwm_core.pipeline import Pipeline

        if "trainer" in self.tables:
            raise BadOption("The recipe has a [trainer], so it makes no pipeline: `lwm train` runs it.")
        plain = {"seed": int, "save_every": int, "weights": Path}
        fields = {name: self.value(name, kind) for name, kind in plain.items() if name in self.tables}
        fields["tokenizer"] = self.shared["tokenizer"] = self.required("tokenizer", "text_tokenizer")
        family, vision = self.vision(fields.get("seed", 0))
        fields["vision"] = vision
        fields["modalities"] = self.modalities()
        fields["family"] = self.model()
        self.shared["vocabulary"] = Pipeline(
            fields["family"], fields["tokenizer"], vision=vision, modalities=fields["modalities"]
        ).vocabulary
        for name in ("curriculum", "objective", "sampler", "checkpoint"):
            if name in self.tables:
                fields[name] = self.part(name, name)
        if "packer" in self.tables:
            fields["packer"] = self.packer(fields.get("curriculum"))
        fields["placement"] = self.placement()
        if "optimizer" in self.tables:
            fields["optimizer"] = self.optimizer()
        if "guard" in self.tables:
            from lwm_core.train.guard import Guard

            fields["guard"] = self.value("guard", Guard)
        fields["sources"] = self.named("sources", "source")
        fields["evaluators"] = self.named("evaluators", "evaluator")
        fields["observers"] = tuple(self.named("observers", "observer").values())
        made = Pipeline(**fields)
        return self.signed(made, family)

    def signed(self, made: "lwm_core.pipeline.Pipeline", family: Any) -> "lwm_core.pipeline.Pipeline":
        """The pipeline with what it was composed from, and with the hooks of installed plugins listening."""
        hearing = listeners(self.catalog.plugins)
        heard = dataclasses.replace(made, observers=(*made.observers, *([HookObserver(hearing)] if hearing else [])))

        def sign(now: "lwm_core.pipeline.Pipeline") -> "lwm_core.pipeline.Pipeline":
            writer = Plain(self.catalog, {"tokenizer": now.tokenizer, "vision": now.vision}, lenient=True)
            recipe = _written(writer, now)
            if now.vision is made.vision and family is not None:
                weights = {"weights": str(self.vision_weights)} if self.vision_weights else {}
                recipe["vision"] = {**writer.write(family, "vision"), **weights}
            elif now.vision is not None:
                recipe["vision"] = {"object": f"{type(now.vision).__module__}.{type(now.vision).__qualname__}"}
            # Those of the recipe: one that a program adds is no part of what was trained.
            observers = zip(self.tables.get("observers", {}), made.observers, strict=True)
            recipe["observers"] = {name: writer.write(part, f"observers.{name}") for name, part in observers}
            versions = dict(sorted(writer.versions.items()))
            mark = fingerprint(recipe, versions)
            return dataclasses.replace(now, recipe=recipe, plugins=versions, fingerprint=mark, sign=sign)

        return sign(heard)

    def part(self, kind: str, table: str, **more: Any) -> Any:
        """The part that a table describes."""
        return Builder(self.catalog, {**self.shared, **more}).part(kind, self.tables[table], table)

    def required(self, table: str, kind: str) -> Any:
        if table not in self.tables:
            names = listed(self.catalog.names(kind))
            raise UnknownName(f"The recipe has no [{table}]: add one with use = NAME. Names: {names}.")
        return self.part(kind, table)

    def value(self, key: str, annotation: Any) -> Any:
        return Conversion(Builder(self.catalog)).convert(annotation, self.tables[key], key)

    def named(self, table: str, kind: str) -> dict[str, Any]:
        """The parts of a table of tables, by name."""
        specs = self.tables.get(table, {})
        if not isinstance(specs, Mapping) or "use" in specs:
            raise BadOption(f"{table} is a table of named {kind}s: write [{table}.NAME] with use = ... in it.")
        builder = Builder(self.catalog, self.shared)
        return {name: builder.part(kind, spec, f"{table}.{name}") for name, spec in specs.items()}

    @property
    def vision_weights(self) -> Path | None:
        table = self.tables.get("vision")
        weights = table.get("weights") if isinstance(table, Mapping) else None
        return None if weights is None else Conversion(Builder(self.catalog)).convert(Path, weights, "vision.weights")

    def vision(self, seed: int) -> tuple[Any, Any]:
        """The vision tokenizer's family and the tokenizer itself: restored, or fresh from the seed."""
        if "vision" not in self.tables:
            return None, None
        import jax

        spec = self.tables["vision"]
        if isinstance(spec, Mapping):
            weightless = Table({key: value for key, value in spec.items() if key != "weights"})
            weightless.inherited = getattr(spec, "inherited", frozenset())
            spec = weightless
        family = Builder(self.catalog, self.shared).part("vision_tokenizer", spec, "vision")
        weights = self.vision_weights
        made = family.init(key=jax.random.key(seed)) if weights is None else family.restore(weights)
        self.shared["vision"] = made
        return family, made

    def modalities(self) -> tuple[Any, ...]:
        from lwm_core.vocab import Modality

        return self.value("modality", tuple[Modality, ...]) if "modality" in self.tables else ()

    def model(self) -> Any:
        """The model's family, around the recipe's attention and rope if it names them."""
        for name in ("rope", "attention"):
            if name in self.tables:
                self.shared[name] = self.part(name, name)
        family = self.required("model", "model")
        for name in ("rope", "attention"):
            if name in self.tables and getattr(family, name, None) is not self.shared[name]:
                raise BadOption(f"The recipe has [{name}], but its model does not take it: say it in one place only.")
            self.shared.pop(name, None)
        return family

    def placement(self) -> Mapping[str, tuple[str, ...]]:
        """Which weights lie otherwise than they declare."""
        rules = self.value("placement", Mapping[str, tuple[str, ...]]) if "placement" in self.tables else {}
        from lwm_core.mesh.axes import check_axis

        for pattern, axes in rules.items():
            for axis in axes:
                try:
                    check_axis(axis)
                except ValueError as error:
                    raise BadOption(f"placement.{pattern}: {error}") from error
        return rules

    def packer(self, curriculum: Any) -> Any:
        length = {} if curriculum is None else {"length": curriculum.stages[0].sequence_length}
        return self.part("packer", "packer", **length)

    def optimizer(self) -> Any:
        """The optimizer; a table that does not say which is AdamW's, as the paper trains."""
        spec = self.tables["optimizer"]
        if isinstance(spec, Mapping) and "use" not in spec and "object" not in spec:
            named = Table({"use": "adamw", **spec})
            named.inherited = getattr(spec, "inherited", frozenset())
            spec = named
        return Builder(self.catalog, self.shared).part("optimizer", spec, "optimizer")


def recipe_of(pipeline: "lwm_core.pipeline.Pipeline", *, catalog: Catalog | None = None) -> dict[str, Any]:
    """The tables that compose an equal pipeline, read from its parts; use it after swapping a part by object.

    A vision tokenizer and observers hold state that is no option, so their tables are those of
    `pipeline.recipe`.
    """
    shared = {"tokenizer": pipeline.tokenizer, "vision": pipeline.vision}
    kept = {name: pipeline.recipe[name] for name in ("vision", "observers") if name in pipeline.recipe}
    return {**_written(Plain(catalog or installed(), shared), pipeline), **kept}


def fingerprint(recipe: Mapping[str, Any], plugins: Mapping[str, str]) -> str:
    """A hash of a resolved recipe and the versions that made it; equal on every host of a run."""
    text = json.dumps({"recipe": recipe, "plugins": plugins}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _written(writer: Plain, made: "lwm_core.pipeline.Pipeline") -> dict[str, Any]:
    tables: dict[str, Any] = {"seed": made.seed, "save_every": made.save_every}
    if made.weights is not None:
        tables["weights"] = str(made.weights)
    # The tokenizer is shared, so `writer` leaves it out of other parts; here it is written itself.
    tables["tokenizer"] = dataclasses.replace(writer, shared={}).write(made.tokenizer, "tokenizer")
    inner = {name: getattr(made.family, name) for name in ("attention", "rope") if hasattr(made.family, name)}
    for name, part in inner.items():
        tables[name] = writer.write(part, name)
    tables["model"] = dataclasses.replace(writer, shared=inner).write(made.family, "model")
    for name in ("curriculum", "packer", "objective", "optimizer", "sampler", "checkpoint", "sources", "evaluators"):
        part = getattr(made, name)
        if part is not None:
            tables[name] = writer.write(part, name)
    if made.placement:
        tables["placement"] = {pattern: list(axes) for pattern, axes in made.placement.items()}
    if made.guard is not None:
        tables["guard"] = dataclasses.asdict(made.guard)
    if made.modalities:
        tables["modality"] = writer.write(made.modalities, "modality")
    return tables
