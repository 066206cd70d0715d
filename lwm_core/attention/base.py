"""The two attention interfaces: a whole sequence, and one block on one device.

`AbstractAttention` takes a whole, maybe sharded, sequence; `AbstractBlockKernel` takes one (query block,
key block) pair and knows nothing of devices. A schedule (ring, all-gather, Ulysses) is written once over
any block kernel. Also owns the site and refusal records. It holds no concrete part.
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import AbstractVar
from jax.sharding import AxisType
from jaxtyping import Array, Float, PyTree

from lwm_core.attention.advice import advice
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.layout.base import AbstractLayout
from lwm_core.mesh.axes import platform


class Support(NamedTuple):
    """Whether a part can serve a site; a refusal is a sentence that says why and what would work."""

    ok: bool
    reason: str = ""


class AttentionSite(NamedTuple):
    """Everything static about one attention call; what `supports` decides on, before tracing.

    `mesh` maps axis names to sizes (empty outside any mesh, and without the axes that an enclosing `shard_map`
    has already split); lengths are global.
    """

    batch: int
    q_length: int
    kv_length: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    rule: Visibility
    mesh: dict[str, int]
    platform: str

    @staticmethod
    def of(q, k, rule: Visibility) -> "AttentionSite":
        """The site of a call with these arrays under the ambient mesh (`jax.set_mesh`)."""
        mesh = jax.sharding.get_abstract_mesh()
        axes = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
        sizes = {name: size for name, size, kind in axes if kind != AxisType.Manual}
        batch, q_length, heads, head_dim = q.shape
        _, kv_length, kv_heads, _ = k.shape
        dtype = str(q.dtype)
        return AttentionSite(batch, q_length, kv_length, heads, kv_heads, head_dim, dtype, rule, sizes, platform())


class UnsupportedSite(ValueError):
    """An attention or kernel was asked for a site that it cannot serve."""


class BlockOut(NamedTuple):
    """One block's attention: normalised output, and the log-sum-exp of its visible scores.

    A query that sees no key has `out` zero and `lse` minus infinity. `lse` is float32, or float64 when the
    inputs are.
    """

    out: Float[Array, "B T H D"]
    lse: Float[Array, "B H T"]


class BlockGrads(NamedTuple):
    """Gradients of one block, in float32 (or float64) so that a schedule may add them over hops."""

    dq: Float[Array, "B T H D"]
    dk: Float[Array, "B S G D"]
    dv: Float[Array, "B S G D"]


class AbstractBlockKernel(eqx.Module):
    """Attention of one query block over one key block on one device.

    H query heads, G key/value heads, G divides H; query head h reads key head h // (H // G). Scores are
    scaled by 1/sqrt(D) inside the kernel. Kernels never see a mesh.
    """

    @abc.abstractmethod
    def supports(self, site: AttentionSite) -> Support:
        """Whether this kernel serves the site; asked before tracing."""

    @abc.abstractmethod
    def forward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> BlockOut:
        """Output (float32 where it can be, for merging; or q's dtype) and log-sum-exp of this block alone."""

    @abc.abstractmethod
    def backward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
        lse: Float[Array, "B H T"],
        delta: Float[Array, "B H T"],
        dout: Float[Array, "B T H D"],
    ) -> BlockGrads:
        """Gradients of this block.

        `lse` is the *global* log-sum-exp, over every block the queries see; `delta` is
        sum over D of dout * (global out). With them the blocks' gradients simply add (FlashAttention-2, alg. 2).
        """


class AbstractRunningKernel(AbstractBlockKernel):
    """A block kernel that carries the softmax from one key block to the next itself.

    What is carried is the kernel's own (a numerator, a maximum and a sum, laid out and padded as it likes), so a
    schedule over many blocks pays no merge between them. Schedules reach it, and every other kernel, through
    `accumulator`.
    """

    @abc.abstractmethod
    def start(self, q: Float[Array, "B T H D"]) -> PyTree:
        """What is carried before the first key block."""

    @abc.abstractmethod
    def accumulate(
        self,
        running: PyTree,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> PyTree:
        """`running` with the attention over these keys added; same shapes and dtypes."""

    @abc.abstractmethod
    def result(self, running: PyTree, q: Float[Array, "B T H D"]) -> BlockOut:
        """The attention over every key accumulated, as `forward` would return it."""


class AbstractAttention(eqx.Module):
    """Attention over a whole sequence; also decoding (T small, S the cache).

    Inside `jax.set_mesh` with axes dp, fsdp, tp, sp it takes and returns global arrays in `layout`'s order;
    outside any mesh it works on one device.
    """

    layout: AbstractVar[AbstractLayout]

    @abc.abstractmethod
    def supports(self, site: AttentionSite) -> Support:
        """Whether this attention serves the site; asked before tracing."""

    @abc.abstractmethod
    def __call__(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        *,
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> Float[Array, "B T H D"]:
        """Attention output in q's dtype; zero for a query that sees no key."""


def support_of(part, site: AttentionSite) -> Support:
    """What the part says of the site; numbers that are no floats are refused for every part."""
    support = part.supports(site)
    if support.ok and not jnp.issubdtype(site.dtype, jnp.floating):
        return Support(False, f"attention of {site.dtype} has no meaning: cast the queries to float32 or bfloat16.")
    return support


def require(part, site: AttentionSite) -> None:
    """Raises `UnsupportedSite` when the part refuses the site: its own sentence, and the names that would accept."""
    support = support_of(part, site)
    if not support.ok:
        name = type(part).__name__
        raise UnsupportedSite(f"{name} cannot serve this call: {support.reason}{advice(part, site)}")
