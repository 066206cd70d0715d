"""tokamax's fused attention, forward and backward, as a whole attention.

Owns the translation of positions, segments and rules into tokamax's ranges of keys. Imports tokamax where it is used.
Its Hopper backward pass narrows its loops by causal order only, so packed rows and windows save it no time there.
"""

import importlib.util

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention import AbstractAttention, AttentionSite, Support, TokenCoords, Visibility, require
from lwm_core.layout import AbstractLayout, Contiguous
from lwm_peers.rows import ROWS, Rows, Spans, blanked, checked, pairs, rows_support


_DTYPES = ("bfloat16", "float16")
# The heads that its kernels are made for; smaller ones are padded with zeros.
_HEADS = (64, 128, 256)


class TokamaxAttention(AbstractAttention):
    """Attention by tokamax's Mosaic GPU kernels on one Hopper or Blackwell GPU, heads up to 256.

    **Arguments:**

    - `rows`: what the caller promises of every row. "any" promises nothing and pays for a mask of every pair;
      "document" is one document in order; "packed" is documents one after another. A broken promise is an error while
      the program runs.
    - `layout`: the order in which rows arrive; only "any" takes other orders than the row's own.
    """

    rows: Rows = eqx.field(static=True, default="any")
    layout: AbstractLayout = eqx.field(default_factory=Contiguous)

    def __check_init__(self):
        if self.rows not in ROWS:
            raise ValueError(f"TokamaxAttention(rows={self.rows!r}): write one of {', '.join(map(repr, ROWS))}.")

    def supports(self, site: AttentionSite) -> Support:
        if site.platform not in ("gpu", "cuda"):
            return Support(
                False, f"tokamax's kernels need an NVIDIA GPU and this is a {site.platform}: use 'local' or 'ring'."
            )
        if jax.default_backend() == "gpu" and importlib.util.find_spec("tokamax") is None:
            return Support(False, "tokamax is not installed: pip install 'lwm-jax[tokamax]'.")
        if site.dtype not in _DTYPES:
            return Support(
                False, f"tokamax computes in {' or '.join(_DTYPES)}, not {site.dtype}: cast, or use 'local'."
            )
        if site.head_dim > _HEADS[-1]:
            return Support(False, f"tokamax takes heads up to {_HEADS[-1]}, not {site.head_dim}: use 'local'.")
        return rows_support(site, self.rows)

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
        require(self, AttentionSite.of(q, k, rule))
        q = checked(q, q_at, kv_at, self.rows)
        if self.rows == "any":
            mask, sighted = pairs(q_at, kv_at, rule)
            return blanked(_call(q, k, v, bool_mask=mask), sighted)
        live = q_at.segment != 0
        q, k, v = (blanked(x, live) for x in (q, k, v))
        return blanked(_call(q, k, v, **ranges(q_at, rule, self.rows)), live)


def ranges(at: TokenCoords, rule: Visibility, rows: Rows) -> dict:
    """The fields of tokamax's mask: causal order, and where each query's keys begin and end, if that says more."""
    causal = rule.causal_block is not None
    span, slot = Spans.of(at.segment), jnp.arange(at.segment.shape[1], dtype=jnp.int32)
    found: dict = {"is_causal": causal}
    first = span.first if rows == "packed" else jnp.zeros_like(span.first)
    if rule.window is not None:
        first = jnp.maximum(first, slot - (rule.window - 1))
    if rows == "packed" or rule.window is not None:
        found["k_start"] = first[:, None]
    if not causal:
        # Padding comes last, so the end of a document that fills the row says nothing more.
        found["k_end"] = span.end[:, None]
    return found


def _call(q, k, v, **mask):
    """tokamax's operation, which `tokamax.dot_product_attention` does not give ranges of keys."""
    from tokamax._src.ops.attention import base, pallas_mosaic_gpu  # pyright: ignore[reportMissingImports]

    dim = q.shape[-1]
    more = next(size for size in _HEADS if dim <= size) - dim
    if more:
        q, k, v = (jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more))) for x in (q, k, v))
    attention = pallas_mosaic_gpu.PallasMosaicGpuFlashAttention()
    return attention(q, k, v, logits_scale=dim**-0.5, mask=base.Mask(**mask))[..., :dim]
