"""cuDNN's fused attention, forward and backward, as a whole attention.

Owns the translation of positions, segments and rules into cuDNN's masks. cuDNN keeps no log-sum-exp that a schedule
could merge with a gradient, so it is an attention and not a kernel; a ring needs 'pallas-gpu'.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from lwm_core.attention import AbstractAttention, AttentionSite, Support, TokenCoords, Visibility, require
from lwm_core.layout import AbstractLayout, Contiguous
from lwm_peers.rows import ROWS, Rows, blanked, checked, evened, pairs, rows_support


_DTYPES = ("bfloat16", "float16")


class CuDNNAttention(AbstractAttention):
    """Attention by cuDNN on one NVIDIA GPU.

    **Arguments:**

    - `rows`: what the caller promises of every row. "any" promises nothing and pays for a mask of every pair;
      "document" is one document in order; "packed" is documents one after another. A broken promise is an error while
      the program runs.
    - `documents`: the most documents of a packed row.
    - `layout`: the order in which rows arrive; only "any" takes other orders than the row's own.
    """

    rows: Rows = eqx.field(static=True, default="any")
    documents: int = eqx.field(static=True, default=64)
    layout: AbstractLayout = eqx.field(default_factory=Contiguous)

    def __check_init__(self):
        if self.rows not in ROWS:
            raise ValueError(f"CuDNNAttention(rows={self.rows!r}): write one of {', '.join(map(repr, ROWS))}.")
        if self.documents < 1:
            raise ValueError(f"CuDNNAttention(documents={self.documents}): give a positive number.")

    def supports(self, site: AttentionSite) -> Support:
        if site.platform not in ("gpu", "cuda"):
            return Support(False, f"cuDNN needs an NVIDIA GPU and this is a {site.platform}: use 'local' or 'ring'.")
        if site.dtype not in _DTYPES:
            return Support(False, f"cuDNN computes in {' or '.join(_DTYPES)}, not {site.dtype}: cast, or use 'local'.")
        if site.head_dim % 8 or site.head_dim > 256:
            return Support(False, f"cuDNN takes heads of a multiple of 8 up to 256, not {site.head_dim}: use 'local'.")
        support = rows_support(site, self.rows)
        if support.ok and self.rows == "packed" and site.heads != site.kv_heads:
            return Support(
                False,
                f"JAX's binding of packed rows counts key heads as query heads, so {site.heads} over {site.kv_heads} "
                "would be wrong: repeat the key heads, or use the kernel 'pallas-gpu'.",
            )
        return support

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
        length = q.shape[1]
        q = checked(q, q_at, kv_at, self.rows, self.documents)
        # JAX's binding has gradients of even lengths only, so odd rows get one more slot of padding.
        q, k, v, q_at, kv_at = (evened(x) for x in (q, k, v, q_at, kv_at))
        return self._even(q, k, v, q_at, kv_at, rule)[:, :length]

    def _even(self, q, k, v, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility):
        if self.rows == "any":
            mask, sighted = pairs(q_at, kv_at, rule)
            return blanked(jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn"), sighted)
        live = q_at.segment != 0
        q, k, v = (blanked(x, live) for x in (q, k, v))
        run = _in_order if self.rows == "document" else partial(_packed, documents=max(self.documents, 2))
        return blanked(run(q, k, v, q_at.segment, rule), live)


def _in_order(q, k, v, segment: Int32[Array, "B T"], rule: Visibility):
    """One document a row. Padding comes last, so causal order hides it; without, cuDNN is told the length."""
    causal = rule.causal_block is not None
    reach = None if rule.window is None else (rule.window - 1, 0)
    length = None if causal else (segment != 0).sum(axis=1, dtype=jnp.int32)
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=causal,
        local_window_size=reach,
        query_seq_lengths=length,
        key_value_seq_lengths=length,
        implementation="cudnn",
    )


def _packed(q, k, v, segment: Int32[Array, "B T"], rule: Visibility, documents: int):
    """Documents one after another, by their lengths and offsets: JAX's binding, which `jax.nn` does not show."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    lengths, offsets = document_spans(segment, documents)
    masks = cudnn.MaskType
    how: Any = masks.PADDING_CAUSAL if rule.causal_block is not None else masks.PADDING
    out: Any = cudnn.dot_product_attention(
        q,
        k,
        v,
        q_seqlen=lengths,
        kv_seqlen=lengths,
        q_offsets=offsets,
        kv_offsets=offsets,
        scale=q.shape[-1] ** -0.5,
        mask_type=how,
        sliding_window_length=rule.window,
    )
    return out


def document_spans(
    segment: Int32[Array, "B T"], documents: int
) -> tuple[Int32[Array, "B M"], Int32[Array, "B M_plus_1"]]:
    """(lengths, first slots) of the documents of each row, -1 where there is none; one more slot than documents."""
    live = segment != 0
    starts = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)), constant_values=True) & live
    nth = jnp.where(live, jnp.cumsum(starts, axis=1) - 1, documents)
    lengths = jax.vmap(lambda which: jnp.zeros(documents + 1, jnp.int32).at[which].add(1))(nth)[:, :documents]
    first = jnp.where(lengths > 0, jnp.cumsum(lengths, axis=1) - lengths, -1)
    return jnp.where(lengths > 0, lengths, -1), jnp.pad(first, ((0, 0), (0, 1)), constant_values=-1)
