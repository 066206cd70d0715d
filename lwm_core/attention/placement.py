"""Where the arrays of one attention call lie on the ambient mesh.

Owns `Placement`: which mesh axes hold rows, query slots, key slots and heads, the padding that makes every
dimension divide, and running a per-shard function over it. It decides nothing about communication; a schedule
does that inside the shards.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from lwm_core.attention.base import AttentionSite, Support
from lwm_core.attention.coords import TokenCoords
from lwm_core.mesh.axes import BATCH, HEADS


class Placement(NamedTuple):
    """Mesh axes of each dimension; `sizes` is empty on one device. Rows lie on dp and fsdp, heads on tp."""

    sizes: dict[str, int]
    q_axis: str | None = None
    kv_axis: str | None = None

    @property
    def alone(self) -> bool:
        """Whether one device holds everything, so that no shard_map is needed."""
        return all(size == 1 for size in self.sizes.values())

    def divisors(self, axis: str | None) -> tuple[int, int]:
        """(rows, slots) must be multiples of these."""
        rows = 1
        for name in BATCH:
            rows *= self.sizes.get(name, 1)
        return rows, self.sizes.get(axis, 1) if axis else 1

    def spec(self, axis: str | None, *, heads: bool = False) -> PartitionSpec:
        """Spec of "B T" coordinates, or of "B T H D" arrays, whose slots lie on `axis`."""
        rows = tuple(name for name in BATCH if name in self.sizes) or None
        slots = axis if axis in self.sizes else None
        if not heads:
            return PartitionSpec(rows, slots)
        return PartitionSpec(rows, slots, HEADS if HEADS in self.sizes else None, None)

    def stat_spec(self) -> PartitionSpec:
        """Spec of "B H T" statistics of the queries."""
        rows, slots, heads, _ = self.spec(self.q_axis, heads=True)
        return PartitionSpec(rows, heads, slots)

    def fit(self, x, axis: str | None):
        """An array or `TokenCoords` padded with empty rows and slots until it divides, and laid out by `spec`."""
        return self._fit_coords(x, axis) if isinstance(x, TokenCoords) else self._fit_array(x, axis)

    def _fit_array(self, x, axis: str | None) -> jax.Array:
        short = [-size % by for size, by in zip(x.shape, self.divisors(axis), strict=False)]
        if any(short):
            widths = [(0, extra) for extra in short] + [(0, 0)] * (x.ndim - 2)
            x = jnp.pad(_laid(x, PartitionSpec()), widths)
        return _laid(x, self.spec(axis, heads=x.ndim == 4))

    def _fit_coords(self, at: TokenCoords, axis: str | None) -> TokenCoords:
        """Summaries go along where every shard holds a whole number of them; elsewhere kernels make their own."""
        position, segment = self._fit_array(at.position, axis), self._fit_array(at.segment, axis)
        extents, (rows, length) = at.extents, position.shape
        _, shards = self.divisors(axis)
        if extents is None or (shards > 1 and length // shards % extents.size):
            return TokenCoords(position, segment)
        extents = extents.padded(rows, -(-length // extents.size))
        return TokenCoords(position, segment, jax.tree.map(lambda x: _laid(x, self.spec(axis)), extents))

    def restore(self, out, like):
        """Cuts the padding off an output and lays it out as `like` was."""
        if out.shape != like.shape:
            out = _laid(out, PartitionSpec())[: like.shape[0], : like.shape[1]]
        return _laid(out, jax.typeof(like).sharding.spec)

    def run(self, function, in_specs, out_specs):
        """`function` over the shards; collectives inside name the mesh axes."""
        mesh = jax.sharding.get_abstract_mesh()
        types = zip(mesh.axis_names, mesh.axis_types, strict=True)
        free = {name for name, kind in types if kind != AxisType.Manual}
        # Gradients never pass through this shard_map (attend owns them), so varying-axes checks add nothing
        # and would bar kernels that do not annotate them.
        return jax.shard_map(function, in_specs=in_specs, out_specs=out_specs, axis_names=free, check_vma=False)


def shard_site(site: AttentionSite, q_shards: int = 1, kv_shards: int = 1) -> AttentionSite:
    """The site that a kernel sees on one device when slots are cut over so many shards."""
    rows, _ = Placement(site.mesh).divisors(None)
    tp = site.mesh.get(HEADS, 1)
    return site._replace(
        batch=-(-site.batch // rows),
        q_length=-(-site.q_length // q_shards),
        kv_length=-(-site.kv_length // kv_shards),
        heads=site.heads // tp,
        kv_heads=site.kv_heads // tp,
        mesh={},
    )


def heads_support(site: AttentionSite) -> Support:
    """Whether query heads divide by key heads, and both over the tp axis."""
    if site.heads % site.kv_heads:
        return Support(
            False,
            f"{site.heads} query heads do not divide by {site.kv_heads} key heads: use a multiple of {site.kv_heads}.",
        )
    tp = site.mesh.get(HEADS, 1)
    if site.kv_heads % tp:
        return Support(
            False,
            f"{site.kv_heads} key heads do not divide over {HEADS}={tp}: "
            f"use a {HEADS} that divides {site.kv_heads}, or more key heads.",
        )
    return Support(True)


def _laid(x, spec: PartitionSpec):
    """The array laid out by `spec` where the mesh is explicit; automatic meshes leave that to the compiler."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not any(kind == AxisType.Explicit for kind in mesh.axis_types):
        return x
    return jax.sharding.reshard(x, spec)
