"""The program that a plan compiles: a training step or a serving step, on outlines of arrays and never on arrays.

Owns what goes into it and where that lies. It is the step that training runs (`lwm_core.train.step`), and the call
that generation makes for every chunk of tokens (`AbstractSequenceModel.hidden`); nothing is simplified.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from lwm_core.attention.coords import TokenCoords
from lwm_core.curriculum import Stage
from lwm_core.mesh import Rules, outlined, sharding
from lwm_core.model.base import AbstractModelFamily
from lwm_core.model.cache import CacheDtype
from lwm_core.model.flops import CountsFlops, training_flops
from lwm_core.objective import AbstractObjective, Batch, Origin
from lwm_core.train.feed import check_rows, slots_of
from lwm_core.train.step import check_accumulate, init_state, make_step
from lwm_core.vocab import Vocabulary


@runtime_checkable
class Work(Protocol):
    """A program to plan."""

    @property
    def family(self) -> AbstractModelFamily: ...

    @property
    def name(self) -> str: ...

    def lowered(self, mesh: Mesh) -> jax.stages.Lowered:
        """The program for a mesh, whose devices need not be here; raises `ValueError` where it cannot lie so."""
        ...

    def resident(self, mesh: Mesh) -> dict[str, Any]:
        """The trees of arrays that are on the devices all the time, by kind, as outlines on a mesh."""
        ...

    def kept(self) -> dict[str, int]:
        """Bytes of activations, of all devices together, that the program holds on to by its policy."""
        ...

    def flops(self) -> float | None:
        """Operations by definition (`lwm_core.model.flops`); None for a model that does not count them."""
        ...


@dataclass(frozen=True)
class Training:
    """A step of a stage: rows of full length, each one document, which is the most that attention can cost."""

    family: AbstractModelFamily
    stage: Stage
    vocabulary: Vocabulary
    objective: AbstractObjective
    optimizer: Any
    placement: Rules = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"a training step of stage {self.stage.name}"

    def lowered(self, mesh: Mesh) -> jax.stages.Lowered:
        accumulate = self.optimizer.accumulate
        check_accumulate(self.stage.rows, accumulate)
        check_rows(self.stage.rows // accumulate, mesh)
        optimizer = self.optimizer.build(self.stage)
        step = make_step(self.objective, optimizer, self.vocabulary, accumulate, self.placement)
        state, batch = outlined(self._state, mesh, self.placement), self._batch(mesh)
        with jax.set_mesh(mesh):
            return step.lowered(state, batch)

    def resident(self, mesh: Mesh) -> dict[str, Any]:
        state = outlined(self._state, mesh, self.placement)
        return {"weights": state.model, "optimiser": state.moments, "batch": self._batch(mesh)}

    def kept(self) -> dict[str, int]:
        """What the scan over layers keeps of one micro-batch for its backward pass, read off the traced program."""
        rows = self.stage.rows // self.optimizer.accumulate
        model = self._state.model
        batch = _rows(rows, self.stage.sequence_length, None)
        weights, rest = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

        def pullback(weights, batch):
            return jax.vjp(lambda w: self.objective(eqx.combine(w, rest), batch, self.vocabulary).total, weights)[1]

        residuals = jax.tree.leaves(jax.eval_shape(pullback, weights, batch))
        own = {leaf.shape for leaf in jax.tree.leaves(weights)}
        large = [leaf for leaf in residuals if leaf.shape not in own and self.stage.sequence_length in leaf.shape]
        return {"activations": sum(leaf.size * leaf.dtype.itemsize for leaf in large)}

    def flops(self) -> float | None:
        model = self._state.model
        rows, length = self.stage.rows, self.stage.sequence_length
        if not isinstance(model, CountsFlops):
            return None
        return training_flops(model, rows * length, rows * length * (length + 1) // 2)

    @cached_property
    def _state(self):
        optimizer = self.optimizer.build(self.stage)
        return eqx.filter_eval_shape(lambda: init_state(self.family.init(key=jax.random.key(0)), optimizer))

    def _batch(self, mesh: Mesh) -> Batch:
        layout = self._state.model.attention.layout
        return _rows(self.stage.rows, slots_of(self.stage.sequence_length, layout, mesh, self.stage.uneven), mesh)


@dataclass(frozen=True)
class Serving:
    """A step of generation: `tokens` more tokens of each row, read with a cache of `length`, and the last one's scores.

    - `dtype`: of the weights, which serving does not change.
    """

    family: AbstractModelFamily
    length: int
    rows: int = 1
    tokens: int = 1
    cache: CacheDtype = "int8"
    dtype: str = "bfloat16"
    placement: Rules = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"serving {self.rows} x {self.length} tokens, {self.tokens} at a time, with a cache of {self.cache}"

    def lowered(self, mesh: Mesh) -> jax.stages.Lowered:
        def step(weights, cache, tokens, at):
            states, cache = eqx.combine(weights, rest).hidden(tokens, at, cache=cache)
            return eqx.combine(weights, rest).logits(states[:, -1]), cache

        model, cache = self._model(mesh), self._cache(mesh)
        weights, rest = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        at = _outline(lambda: TokenCoords.of_rows(self.rows, self.tokens), sharding(mesh))
        with jax.set_mesh(mesh):
            return jax.jit(step, donate_argnums=1).lower(weights, cache, at.position, at)

    def resident(self, mesh: Mesh) -> dict[str, Any]:
        return {"weights": self._model(mesh), "kv_cache": self._cache(mesh)}

    def kept(self) -> dict[str, int]:
        return {}

    def flops(self) -> float | None:
        model = eqx.filter_eval_shape(self.family.init, key=jax.random.key(0))
        tokens = self.rows * self.tokens
        return model.flops(tokens, tokens * self.length) if isinstance(model, CountsFlops) else None

    def _model(self, mesh: Mesh):
        model = eqx.filter_eval_shape(self.family.init, key=jax.random.key(0))

        def narrow(leaf):
            is_float = isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.floating)
            return jax.ShapeDtypeStruct(leaf.shape, self.dtype) if is_float else leaf

        return outlined(jax.tree.map(narrow, model), mesh, self.placement)

    def _cache(self, mesh: Mesh):
        model = eqx.filter_eval_shape(self.family.init, key=jax.random.key(0))
        return outlined(eqx.filter_eval_shape(model.empty_cache, self.rows, self.length, self.cache), mesh)


def _rows(rows: int, length: int, mesh: Mesh | None) -> Batch:
    """The outline of a batch, laid out as the feed does; without places where there is no mesh."""

    def batch() -> Batch:
        ids, weights = jnp.zeros((rows, length), jnp.int32), jnp.zeros((rows, length))
        return Batch(ids, TokenCoords(ids, ids), ids, weights, Origin(ids, ids))

    at = None if mesh is None else sharding(mesh, "batch", "sequence")
    return _outline(batch, at)


def _outline(build: Callable[[], Any], at: NamedSharding | None) -> Any:
    """What `build` would make, as outlines that all lie alike."""
    shapes = jax.eval_shape(build)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes)
