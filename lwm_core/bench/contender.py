"""Who is measured: anything that can prepare one pass of a case, and our own attentions as such contenders.

Owns the `Contender` protocol, the prepared `Entry`, and compiling a JAX function into one. Peers from elsewhere
have a file each in `peers`; timing is `contest`'s.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lwm_core.attention import AbstractAttention, Support, TokenCoords
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.wire import wire_bytes
from lwm_core.layout import Striped
from lwm_core.mesh import MeshSpec, sharding


@dataclass(frozen=True)
class Entry:
    """One pass of one contender on one case, compiled and with its inputs in place.

    `run(n)` runs it n times and waits; `result()` is the output, or the gradient of q, in row order. What a
    contender cannot say is None. `order` is the row's token in each slot, where slots are spread over devices.
    """

    run: Callable[[int], None]
    result: Callable[[], np.ndarray]
    options: str = ""
    temporary_bytes: int | None = None
    wire: Counter | None = None
    order: np.ndarray | None = None


@runtime_checkable
class Contender(Protocol):
    """A way to compute attention."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def supports(self, case: Case) -> Support:
        """Whether it can compute this case here."""
        ...

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        """The forward pass, or the forward and backward pass, ready to be timed."""
        ...


@dataclass(frozen=True)
class PartContender:
    """An attention of the catalog, built."""

    name: str
    attention: AbstractAttention

    def supports(self, case: Case) -> Support:
        lacking = devices_support(case)
        return self.attention.supports(case.site(jax.default_backend())) if lacking.ok else lacking

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        part, options = self.attention, ""
        if case.stripe is not None:
            part, options = replace(part, layout=Striped(case.stripe)), f"stripes of {case.stripe}"
        order = part.layout.permutation(case.length, case.devices)

        def attention(q, k, v, position, segment):
            at = TokenCoords(position, segment)
            return part(q, k, v, q_at=at, kv_at=at, rule=case.rule)

        coords = [(x[:, order], ("batch", "sequence")) for x in (inputs.position, inputs.segment)]
        mesh = mesh_of(case) if case.devices > 1 else None
        return compiled(attention, case, inputs, coords, mesh=mesh, order=order, backward=backward, options=options)


def devices_support(case: Case) -> Support:
    """Whether this process has the devices that the case is spread over."""
    have = jax.device_count()
    if have < case.devices:
        return Support(False, f"the case is spread over {case.devices} devices and there are {have}: use --devices.")
    return Support(True)


def mesh_of(case: Case) -> Mesh:
    """A mesh that spreads sequences over the case's devices."""
    return MeshSpec(sp=case.devices).make_within(jax.devices())


def compiled(
    attention: Callable[..., jax.Array],
    case: Case,
    inputs: Inputs,
    extras: Sequence[tuple[np.ndarray, tuple[str | None, ...]]] = (),
    *,
    mesh: Mesh | None,
    order: np.ndarray | None = None,
    backward: bool,
    options: str = "",
) -> Entry:
    """An entry of `attention(q, k, v, *extras)`.

    **Arguments:**

    - `extras`: more arguments, each with the logical axes that it lies on;
    - `mesh`: None runs on the first device;
    - `order`: the row's token in each slot; None is the row's own order.
    """
    order = np.arange(case.length) if order is None else order

    def program(q, k, v, dout, *more):
        if not backward:
            return attention(q, k, v, *more)
        return jax.vjp(lambda q, k, v: attention(q, k, v, *more), q, k, v)[1](dout)

    arrays = [(jnp.asarray(x[:, order], case.dtype), ("batch", "sequence", None, None)) for x in inputs[:4]]
    with jax.set_mesh(mesh) if mesh is not None else jax.default_device(jax.devices()[0]):
        placed = [_placed(x, axes, mesh) for x, axes in (*arrays, *extras)]
        traced = jax.jit(program).trace(*placed)
        ready = traced.lower().compile()

    # XLA on CPU may run two calls at once, and where they hold collectives each can wait for the other's threads.
    in_turn = jax.default_backend() == "cpu"

    def run(times: int) -> None:
        results: Any = None
        for _ in range(times):
            results = ready(*placed)
            if in_turn:
                jax.block_until_ready(results)
        jax.block_until_ready(results)

    def result() -> np.ndarray:
        got = jax.block_until_ready(ready(*placed))
        return np.asarray((got[0] if backward else got).astype(jnp.float32))[:, np.argsort(order)]

    memory = ready.memory_analysis()
    # Without a collective of its own, a spread program leaves them to the compiler, and nothing can be counted.
    sent = wire_bytes(traced.jaxpr, dict(mesh.shape)) if mesh is not None else Counter()
    return Entry(
        run,
        result,
        options,
        temporary_bytes=None if memory is None else memory.temp_size_in_bytes,
        wire=sent if sent or case.devices == 1 else None,
        order=order,
    )


def _placed(x, axes: tuple[str | None, ...], mesh: Mesh | None) -> jax.Array:
    return jax.device_put(x, jax.devices()[0] if mesh is None else sharding(mesh, *axes))
