"""A recipe to the program that a plan compiles: no data and no weights are needed for it.

Owns what stands in where a recipe leaves its tokenizers to its reader, and says so. The plan is `lwm_core.plan`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from lwm_registry.catalog import Catalog
from lwm_registry.errors import BadOption, UnknownName, listed
from lwm_registry.pipelines import Composer
from lwm_registry.recipes import Given, read


if TYPE_CHECKING:
    from lwm_core.curriculum import Stage
    from lwm_core.plan import Serving, Training
    from lwm_core.vocab import Modality, Vocabulary


# The block kernel made for a platform. A plan for it uses this one in place of the reference, and says so.
KERNELS = {"tpu": "pallas-tpu"}
# Ids of LLaMA-2's text, and of LWM's frames with room for its markers.
STAND_INS = {"text": 32_000, "vision": 8_448}


@dataclass(frozen=True)
class Sketch:
    """The parts of a recipe that its steps are made of.

    - `overrides`: what makes the recipe into this; `assumed`: a sentence for each part that it leaves open.
    """

    family: Any
    objective: Any
    optimizer: Any
    placement: Mapping[str, Any]
    stages: "tuple[Stage, ...]"
    modalities: "Mapping[str, Modality]"
    overrides: Mapping[str, Any]
    assumed: tuple[str, ...]

    def training(self, name: str | None = None) -> "Training":
        """The training step of a stage; of the last, which is the longest, if no name is given."""
        from lwm_core.plan import Training

        stage = self._stage(name)
        vocabulary = self._vocabulary(stage)
        family = replace(self.family, vocab_size=vocabulary.size)
        return Training(family, stage, vocabulary, self.objective, self.optimizer, self.placement)

    def serving(self, length: int, rows: int, tokens: int, cache: Any) -> "Serving":
        """A step of generation with the model as the last stage leaves it."""
        from lwm_core.plan import Serving

        family = replace(self.family, vocab_size=self._vocabulary(self.stages[-1]).size)
        return Serving(family, length, rows, tokens, cache, placement=self.placement)

    def _stage(self, name: str | None) -> "Stage":
        for stage in self.stages:
            if stage.name == name:
                return stage
        if name is None:
            return self.stages[-1]
        raise UnknownName(f"No stage {name!r}: this recipe has {listed(stage.name for stage in self.stages)}.")

    def _vocabulary(self, stage: "Stage") -> "Vocabulary":
        from lwm_core.vocab import Vocabulary

        unknown = [name for name in stage.modalities if name not in self.modalities]
        if unknown:
            raise BadOption(f"Stage {stage.name!r} needs modality {unknown[0]!r}: add it as a [[modality]].")
        return Vocabulary(tuple(self.modalities[name] for name in stage.modalities))


def sketch(recipe: Given, overrides: Mapping[str, Any], platform: str, *, catalog: Catalog) -> Sketch:
    """The parts of a recipe, for a platform ("cpu", "gpu" or "tpu")."""
    from lwm_core.objective import CrossEntropy
    from lwm_core.train.optimizer import AdamW

    chosen = dict(overrides)
    tables = read(recipe, catalog, chosen)
    if (
        platform in KERNELS
        and not any(key.startswith("attention") for key in chosen)
        and _on_reference(tables, catalog)
    ):
        chosen["attention.kernel.use"] = KERNELS[platform]
        tables = read(recipe, catalog, chosen)
    if "curriculum" not in tables:
        raise BadOption("The recipe has no [curriculum], so it has no step to plan: add one with use = NAME.")
    composer = Composer(catalog, tables)
    stages = composer.part("curriculum", "curriculum").stages
    modalities, assumed = _modalities(composer, {name for stage in stages for name in stage.modalities})
    return Sketch(
        family=composer.model(),
        objective=composer.part("objective", "objective") if "objective" in tables else CrossEntropy(),
        optimizer=composer.optimizer() if "optimizer" in tables else AdamW(),
        placement=composer.placement(),
        stages=stages,
        modalities=modalities,
        overrides=chosen,
        assumed=assumed,
    )


def _on_reference(tables: Mapping[str, Any], catalog: Catalog) -> bool:
    """Whether the recipe's attention takes a block kernel, and computes its blocks by the reference one."""
    attention = tables.get("attention")
    attention = attention if isinstance(attention, Mapping) else {"use": attention}
    kernel = attention.get("kernel", "blockwise")
    name = attention.get("use")
    if name is None or (kernel.get("use") if isinstance(kernel, Mapping) else kernel) != "blockwise":
        return False
    part: Any = catalog.target(catalog.find("attention", name))
    return any(field.name == "kernel" for field in fields(part))


def _modalities(composer: Composer, needed: set[str]) -> "tuple[dict[str, Modality], tuple[str, ...]]":
    """The id ranges that stages may name: of the recipe's tokenizers, or as many ids as the published models have."""
    from lwm_core.vision import vision_modality
    from lwm_core.vocab import Modality

    found, assumed = {}, []
    if "tokenizer" in composer.tables:
        tokenizer = composer.shared["tokenizer"] = composer.required("tokenizer", "text_tokenizer")
        found["text"] = Modality("text", tokenizer.size, tokenizer.markers)
    if "vision" in composer.tables:
        found["vision"] = vision_modality(composer.vision(0)[1])
    for name, size in STAND_INS.items():
        if name in needed and name not in found:
            found[name] = Modality(name, size, {})
            assumed.append(f"{name}: the recipe has no tokenizer for it, {size} ids are assumed")
    return {**found, **{modality.name: modality for modality in composer.modalities()}}, tuple(assumed)
