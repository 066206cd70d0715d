"""What every schedule over a spread sequence shares.

Owns the choice between one device, decoding and the schedule proper, and the refusals that are the same for
all of them. It holds no communication: each schedule's file does.
"""

from jaxtyping import Array, Float

from lwm_core.attention import (
    AbstractBlockKernel,
    AttentionSite,
    Placement,
    Schedule,
    Support,
    TokenCoords,
    Visibility,
    attend,
    heads_support,
    shard_site,
)
from lwm_core.mesh import BATCH, HEADS
from lwm_ring.decode import SpreadCache


def spread(
    schedule: Schedule,
    kernel: AbstractBlockKernel,
    axis: str,
    site: AttentionSite,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
) -> Float[Array, "B T H D"]:
    """Attention over a sequence spread over `axis`: by the kernel alone where there is nothing to spread over,
    by sharing out the cache where queries and keys differ in number, by `schedule` otherwise."""
    arrays = q, k, v, q_at, kv_at, rule
    if site.mesh.get(axis, 1) == 1:
        return attend(kernel, Placement(site.mesh), *arrays)
    if is_decoding(site):
        return attend(SpreadCache(kernel, axis), Placement(site.mesh, kv_axis=axis), *arrays)
    return attend(schedule, Placement(site.mesh, q_axis=axis, kv_axis=axis), *arrays)


def spread_support(site: AttentionSite, axis: str) -> Support:
    """The refusals that all schedules share; a kernel has its own."""
    if site.mesh and axis not in site.mesh:
        return Support(
            False,
            f"the mesh has axes {', '.join(site.mesh)} and none is called {axis!r}: "
            f"make the mesh with one (its size may be 1), or set this attention's `axis` to one of them.",
        )
    return heads_support(site)


def is_decoding(site: AttentionSite) -> bool:
    """Whether queries look at a cache of another length: then every shard keeps all of the queries."""
    return site.q_length != site.kv_length


def kernel_support(kernel: AbstractBlockKernel, site: AttentionSite, q_shards: int, kv_shards: int) -> Support:
    """Whether the kernel serves the blocks that it would meet on each shard."""
    return kernel.supports(shard_site(site, 1 if is_decoding(site) else q_shards, kv_shards))


def check_axis(part, axis: str) -> None:
    """Raises ValueError when a sequence axis is one that already holds rows or heads."""
    if axis in (*BATCH, HEADS):
        raise ValueError(
            f"{type(part).__name__}(axis={axis!r}): this axis holds rows or heads; give the sequence axis, 'sp'."
        )
