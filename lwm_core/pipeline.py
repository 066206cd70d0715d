"""A pipeline: a frozen record of parts that trains, samples and evaluates.

Owns the composition and nothing of the parts. It is plain Python: recipes build one by name, programs build
one by hand, and either can replace any field with `dataclasses.replace`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwm_core.checkpoint.base import CheckpointFormat
from lwm_core.curriculum import Curriculum
from lwm_core.data import DataSource, Packer
from lwm_core.evaluate.base import Evaluator
from lwm_core.model.base import AbstractModelFamily
from lwm_core.objective.base import AbstractObjective
from lwm_core.sample.base import AbstractSampler
from lwm_core.text import TextTokenizer
from lwm_core.train.observer import Observer
from lwm_core.vision import AbstractVisionTokenizer
from lwm_core.vocab import Modality


@dataclass(frozen=True)
class Pipeline:
    """Parts of one run. Only `family` and `tokenizer` are needed to sample; training needs the rest."""

    family: AbstractModelFamily
    tokenizer: TextTokenizer
    curriculum: Curriculum | None = None
    sources: Mapping[str, DataSource] = field(default_factory=dict)
    packer: Packer | None = None
    vision: AbstractVisionTokenizer | None = None
    modalities: tuple[Modality, ...] = ()
    objective: AbstractObjective | None = None
    optimizer: Any = None
    sampler: AbstractSampler | None = None
    checkpoint: CheckpointFormat | None = None
    evaluators: Mapping[str, Evaluator] = field(default_factory=dict)
    observers: tuple[Observer, ...] = ()
    weights: Path | None = None
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
