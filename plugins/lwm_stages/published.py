"""What a source says of one stage of training, figure by figure, and the stage that follows from it.

Owns the record and how it becomes a `Stage`. The schedules are `lwm`'s and `others`'; options are `schedules`'.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lwm_core.curriculum import Figure, Stage


Mesh = tuple[int, int, int, int]
# Published sizes such as "4M tokens" are powers of two: it is the reading in which every row is whole.
MI = 2**20


def confirmed(value: Any, note: str = "") -> Figure[Any]:
    """Found in a source that can be looked up."""
    return Figure(value, "confirmed", note)


def recalled(value: Any, percent: int, note: str = "") -> Figure[Any]:
    """From a memory of the paper, this sure; it could not be looked up."""
    return Figure(value, "recalled", f"{percent}% sure" + (f"; {note}" if note else ""))


def derived(value: Any, note: str) -> Figure[Any]:
    """Worked out from other figures."""
    return Figure(value, "derived", note)


def chosen(value: Any, note: str) -> Figure[Any]:
    """Ours, where the source says nothing."""
    return Figure(value, "chosen", note)


@dataclass(frozen=True)
class PublishedStage:
    """One column of a published table; a figure that nobody published is None.

    - `tokens_per_batch`: a power of two times a million, as `MI` has it;
    - `total_tokens`: as the source states it, often rounded; `Stage.total_tokens` is what a run sees;
    - `init_from`: what the stage's weights start from; `precision`: of training;
    - `documents`: (fewest, most) tokens of a document, None for no end; `document_count`: how many there were;
    - `devices`: how many the mesh was laid over; `hours`: wall-clock time on them.
    """

    name: str
    init_from: Figure[str]
    sequence_length: Figure[int]
    rope_theta: Figure[float]
    tokens_per_batch: Figure[int]
    total_tokens: Figure[int]
    steps: Figure[int]
    schedule: Figure[str]
    warmup_steps: Figure[int]
    learning_rate: Figure[float]
    min_learning_rate: Figure[float]
    mesh: Figure[Mesh]
    mixture: Figure[Mapping[str, float]]
    precision: Figure[str] | None = None
    documents: Figure[tuple[int, int | None]] | None = None
    document_count: Figure[int] | None = None
    devices: Figure[int] | None = None
    hours: Figure[float] | None = None
    modalities: tuple[str, ...] = ("text",)

    @property
    def figures(self) -> dict[str, Figure[Any]]:
        """Every figure that the source has, by its name."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Figure)}

    def stage(self, mesh: Mesh | None = None) -> Stage:
        """The stage, on `mesh` instead of the published one where it is given."""
        taken = (
            "sequence_length", "rope_theta", "steps", "schedule", "warmup_steps", "learning_rate",
            "min_learning_rate", "mixture",
        )  # fmt: skip
        rows, rest = divmod(self.tokens_per_batch.value, self.sequence_length.value)
        assert rest == 0, f"{self.name}: {self.tokens_per_batch.value} tokens are no whole rows"
        return Stage(
            name=self.name,
            rows=rows,
            mesh=self.mesh.value if mesh is None else mesh,
            modalities=self.modalities,
            **{figure: getattr(self, figure).value for figure in taken},
        )
