"""The few operations that only a Hopper warpgroup has, and what stands for them in Pallas' interpreter.

Owns products of tiles and the layout of values in registers. Everything else of a kernel (rings, barriers, copies,
visits, softmax) is written once for both machines, so the interpreter on a CPU runs the kernel's own protocol and
numbers; what it cannot show is wgmma's layouts and the timing. Those are shown by compiling for sm_90a.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float


# A product: left operand (memory or registers), right operand in memory, and whether the right one is transposed.
Factors = tuple[Any, Any, bool]


@runtime_checkable
class Machine(Protocol):
    """What a consumer warpgroup can do."""

    @property
    def interpret(self) -> Any:
        """What Pallas is told: false compiles."""
        ...

    def rows(self, ref: Any) -> Array:
        """One value per row of a tile, from memory."""
        ...

    def columns(self, ref: Any) -> Array:
        """One value per column of a tile, from memory."""
        ...

    def tile(self, ref: Any) -> Array:
        """A tile, from memory."""
        ...

    def filled(self, shape: tuple[int, ...], value: float) -> Array:
        """A float32 tile, or one value per row of a tile."""
        ...

    def products(self, *factors: Factors, meanwhile: Callable[[], None] | None = None) -> tuple[Array, ...]:
        """Float32 products, started together; `meanwhile` runs before they are waited for."""
        ...

    def added(self, *sums: tuple[Array, Factors]) -> tuple[Array, ...]:
        """Float32 tiles with a product added to each, started together."""
        ...


class Hopper(NamedTuple):
    """Warpgroup instructions: wgmma and its register layout."""

    interpret: bool = False

    def rows(self, ref: Any) -> Array:
        return _load(ref, plgpu.Layout.WGMMA.reduce(1))

    def columns(self, ref: Any) -> Array:
        return _load(ref, plgpu.Layout.WGMMA.reduce(0))

    def tile(self, ref: Any) -> Array:
        return _load(ref, plgpu.Layout.WGMMA)

    def filled(self, shape: tuple[int, ...], value: float) -> Array:
        layout = plgpu.Layout.WGMMA if len(shape) == 2 else plgpu.Layout.WGMMA.reduce(1)
        return plgpu.layout_cast(jnp.full(shape, value, jnp.float32), layout)

    def products(self, *factors: Factors, meanwhile: Callable[[], None] | None = None) -> tuple[Array, ...]:
        def compute(*sums):
            for total, (left, right, across) in zip(sums, factors, strict=True):
                plgpu.wgmma(total, left, _turned(right, across))
            if meanwhile is not None:
                meanwhile()
            return tuple(total[...] for total in sums)

        shapes = [
            plgpu.WGMMAAccumulatorRef(_shape(left, right, across), jnp.float32) for left, right, across in factors
        ]
        return pl.run_scoped(compute, *shapes)

    def added(self, *sums: tuple[Array, Factors]) -> tuple[Array, ...]:
        def compute(refs):
            for ref, (_, (left, right, across)) in zip(refs, sums, strict=True):
                plgpu.wgmma(ref, left, _turned(right, across))

        accumulators: Any = tuple(plgpu.WGMMAAccumulatorRef.init(total) for total, _ in sums)
        return pl.run_state(compute)(accumulators)


class Interpreted(NamedTuple):
    """The same on a CPU, in Pallas' interpreter of GPU memory, threads and barriers."""

    interpret: Any

    def rows(self, ref: Any) -> Array:
        return ref[...]

    def columns(self, ref: Any) -> Array:
        return _read(ref)

    def tile(self, ref: Any) -> Array:
        return ref[...]

    def filled(self, shape: tuple[int, ...], value: float) -> Array:
        return jnp.full(shape, value, jnp.float32)

    def products(self, *factors: Factors, meanwhile: Callable[[], None] | None = None) -> tuple[Array, ...]:
        found = tuple(_dot(*each) for each in factors)
        if meanwhile is not None:
            meanwhile()
        return found

    def added(self, *sums: tuple[Array, Factors]) -> tuple[Array, ...]:
        return tuple(total + _dot(*each) for total, each in sums)


def spread(rows: Array, like: Float[Array, "m n"]) -> Array:
    """One value per row, over the columns of a tile."""
    return jax.lax.broadcast_in_dim(rows, like.shape, [0])


def spread_down(columns: Array, like: Float[Array, "m n"]) -> Array:
    """One value per column, over the rows of a tile."""
    return jax.lax.broadcast_in_dim(columns, like.shape, [1])


def _turned(ref: Any, across: bool) -> Any:
    return ref.transpose((1, 0)) if across else ref


def _shape(left: Any, right: Any, across: bool) -> tuple[int, int]:
    return left.shape[0], right.shape[0 if across else 1]


def _dot(left: Any, right: Any, across: bool) -> Float[Array, "m n"]:
    left, right = (x if isinstance(x, jax.Array) else _read(x) for x in (left, right))
    dims = (((1,), (1 if across else 0,)), ((), ()))
    return jax.lax.dot_general(left, right, dims, preferred_element_type=jnp.float32)


# JAX 0.10 wants an index, later ones do without.
_IDX = inspect.signature(plgpu.load).parameters.get("idx")
_INDEX: tuple = ((),) if _IDX is not None and _IDX.default is inspect.Parameter.empty else ()


def _load(ref: Any, layout: Any) -> Array:
    return plgpu.load(ref, *_INDEX, layout=layout, optimized=False)


def _read(ref: Any) -> Array:
    """Shared memory that a copy will overwrite. wgmma reads it as copies do, and barriers order the two; newer
    interpreters want an ordinary read to be told apart from them."""
    found = ref[...]
    plgpu.commit_smem()
    return found
