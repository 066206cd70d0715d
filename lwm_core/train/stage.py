"""What a stage needs of the pipeline and the machine: its mesh, its stream of rows, and whether it can run at all.

Owns making these and checking them before a run starts, so that a long run does not learn in its last stage that
a length does not divide. It trains nothing: the order of events is `run`'s.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lwm_core.attention.coords import TokenCoords
from lwm_core.curriculum import Stage
from lwm_core.data.balance import Balanced
from lwm_core.load import Stream
from lwm_core.load.shared import Exchange
from lwm_core.mesh import MeshSpec
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import Batch, Origin
from lwm_core.processes import joined
from lwm_core.train.feed import check_rows, slots_of
from lwm_core.train.step import check_accumulate
from lwm_core.train.trainable import Trainable
from lwm_core.vocab import Vocabulary


TURNS = 500  # a long document gives up to a 500th of the stage at a time, so that shares are met within 1% of it


@contextlib.contextmanager
def stage_mesh(stage: Stage) -> Iterator[Mesh | None]:
    """The stage's mesh, ambient inside; None, and no mesh, where the stage keeps to one device."""
    if stage.mesh is None:
        if jax.process_count() > 1:
            raise ValueError(
                f"Stage {stage.name!r} has no mesh, so it keeps to one device, and this run has {_devices()}: give it "
                f"sizes of dp, fsdp, tp, sp, such as mesh = [1, {jax.device_count()}, 1, 1]."
            )
        yield None
        return
    mesh = MeshSpec(*stage.mesh).make_within(jax.devices())
    idle = sorted({device.process_index for device in jax.devices()} - {d.process_index for d in mesh.devices.flat})
    if idle:
        raise ValueError(
            f"Stage {stage.name!r} takes {mesh.size} devices, and this run has {_devices()}, so process "
            f"{', '.join(map(str, idle))} would do nothing: make the product of the mesh's sizes "
            f"{jax.device_count()}, set one to -1, or start fewer processes."
        )
    with jax.set_mesh(mesh):
        yield mesh


def _devices() -> str:
    return f"{jax.device_count()} devices in {jax.process_count()} processes"


def stage_stream(pipeline: Trainable, index: int, vocabulary: Vocabulary) -> Stream:
    """The rows of stage `index`, each step's arranged so that its ranks have as much to compute.

    Raises `ValueError` for a source that is missing or holds no document.
    """
    stage = pipeline.stages[index]
    missing = sorted(set(stage.mixture) - set(pipeline.sources))
    if missing:
        have = ", ".join(sorted(pipeline.sources)) or "none"
        raise ValueError(f"Stage {stage.name!r} draws from {missing[0]!r}; the pipeline's sources are {have}.")
    return Stream(
        sources={name: pipeline.sources[name] for name in stage.mixture},
        mixture=stage.mixture,
        render=pipeline.renderer(vocabulary),
        packer=pipeline.packer_for(stage),
        rows=stage.rows,
        seed=int(np.random.SeedSequence([pipeline.seed, index]).generate_state(1)[0]),
        mixture_by=stage.mixture_by,
        turn=stage.total_tokens // TURNS,
        arrange=Balanced(_ranks(stage)),
        share=_share(),
    )


def _share() -> Callable[[], Exchange] | None:
    """How the processes of a run share its reading; None where there is one."""
    among = joined()
    return None if among is None or among.count == 1 else among.parcels.open


def _ranks(stage: Stage) -> int:
    """How many ranks share the rows of a step."""
    if stage.mesh is None:
        return 1
    shape = MeshSpec(*stage.mesh).make_within(jax.devices()).shape
    return shape["dp"] * shape["fsdp"]


def check_stages(
    pipeline: Trainable, indices: Sequence[int], model: AbstractSequenceModel, vocabulary: Vocabulary
) -> None:
    """Raises `ValueError` for the first of these stages that cannot run, before any of them has.

    - `model`, `vocabulary`: what the first of them starts from.
    """
    for index in indices:
        stage = pipeline.stages[index]
        try:
            vocabulary = _continued(pipeline.vocabulary_for(stage), vocabulary)
            stage_stream(pipeline, index, vocabulary)
            with stage_mesh(stage) as mesh:
                slots = slots_of(stage.sequence_length, model.attention.layout, mesh, stage.uneven)
                check_rows(stage.rows, mesh)
                check_accumulate(stage.rows, pipeline.optimizer.accumulate)
                _check_model(pipeline, (stage.rows, slots), model, vocabulary)
        except (ValueError, OSError) as error:
            error.add_note(f"Stage {stage.name!r} could not run so; nothing of this start was trained.")
            raise


def _continued(vocabulary: Vocabulary, before: Vocabulary) -> Vocabulary:
    """`vocabulary`, when the ids of `before` keep their meaning in it."""
    if vocabulary.continues(before):
        return vocabulary
    raise ValueError(
        f"The weights know the ids {_spell(before)}, and this stage needs {_spell(vocabulary)}: ids keep their "
        f"meaning, so begin its modalities with {', '.join(before.names)}, of the same tokenizers, and add new ones "
        "after them."
    )


def _spell(vocabulary: Vocabulary) -> str:
    return ", ".join(f"{modality.name} ({modality.size})" for modality in vocabulary.modalities)


def _check_model(
    pipeline: Trainable, shape: tuple[int, int], model: AbstractSequenceModel, vocabulary: Vocabulary
) -> None:
    """Traces the loss without computing it, so that attention and kernel can refuse."""

    def loss(model):
        ids, weights = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)
        batch = Batch(ids, TokenCoords(ids, ids), ids, weights, Origin(ids, ids))
        return pipeline.objective(model, batch, vocabulary).total

    eqx.filter_eval_shape(loss, model)
