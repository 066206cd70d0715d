"""What a run needs of a pipeline, so that training knows no pipeline and the arrow points one way.

Owns the contract only. `lwm_core.pipeline.Pipeline` keeps it; so may any record of parts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lwm_core.checkpoint.base import CheckpointFormat
from lwm_core.curriculum import Curriculum, Stage
from lwm_core.data import DataSource, Packer, Renderer
from lwm_core.evaluate.base import Evaluator
from lwm_core.mesh import Rules
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective
from lwm_core.text import TextTokenizer
from lwm_core.train.guard import Guard
from lwm_core.train.observer import Observer
from lwm_core.train.optimizer import Optimizer
from lwm_core.vocab import Vocabulary


@runtime_checkable
class Trainable(Protocol):
    """Parts of a run, and how its model is made; the fields are `Pipeline`'s."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...
    @property
    def curriculum(self) -> Curriculum | None: ...
    @property
    def evaluators(self) -> Mapping[str, Evaluator]: ...
    @property
    def tokenizer(self) -> TextTokenizer: ...
    @property
    def sources(self) -> Mapping[str, DataSource]: ...
    @property
    def objective(self) -> AbstractObjective: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def guard(self) -> Guard | None: ...
    @property
    def checkpoint(self) -> CheckpointFormat: ...
    @property
    def observers(self) -> tuple[Observer, ...]: ...
    @property
    def save_every(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def placement(self) -> Rules: ...
    @property
    def recipe(self) -> Mapping[str, Any]: ...
    @property
    def plugins(self) -> Mapping[str, str]: ...
    @property
    def fingerprint(self) -> str: ...

    def begun(self) -> tuple[AbstractSequenceModel, Vocabulary]:
        """The model that a new run starts from, and its id space."""
        ...

    def packer_for(self, stage: Stage) -> Packer:
        """What fills the rows of a stage."""
        ...

    def vocabulary_for(self, stage: Stage) -> Vocabulary:
        """The id space during a stage."""
        ...

    def renderer(self, vocabulary: Vocabulary) -> Renderer:
        """How documents become samples of that id space."""
        ...

    def restored(self, path: Path, where: Callable[[Any], Any] | None = None) -> AbstractSequenceModel:
        """The model in a checkpoint; `where` gives a tree of `ShapeDtypeStruct`s the shardings to read it into."""
        ...
