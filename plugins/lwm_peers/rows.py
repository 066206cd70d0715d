"""What foreign kernels must be told about rows, because they know nothing of positions and segments.

Owns the promise that a caller makes about the rows (`Rows`), its check while the program runs, and the padding that
keeps slots without a document out of every result. The kernels themselves are in `cudnn` and `tokamax`.
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from lwm_core.attention import AttentionSite, Support, TokenCoords, Visibility


Rows = Literal["any", "document", "packed"]
ROWS = ("any", "document", "packed")
# A mask of every pair beyond this many bytes is refused: 1 GiB is one row of 32768 tokens.
_LARGEST_MASK = 1 << 30


def rows_support(site: AttentionSite, rows: Rows) -> Support:
    """Whether such rows can be told to a kernel that knows only order, windows to the left, and masks."""
    spread = {name: size for name, size in site.mesh.items() if size > 1}
    if spread:
        return Support(
            False,
            f"it runs on one device and the mesh has {', '.join(f'{n}={s}' for n, s in spread.items())}: "
            "use 'ring' or 'local' with the kernel 'pallas-gpu'.",
        )
    if site.heads % site.kv_heads:
        return Support(False, f"{site.heads} query heads do not divide by {site.kv_heads} key heads.")
    if rows == "any":
        size = site.batch * site.q_length * site.kv_length
        return Support(
            size <= _LARGEST_MASK,
            f"rows in any order need a mask of every pair, here {size / 2**30:.1f} GiB: set rows='document' or "
            "rows='packed' where documents stand in order, or use the kernel 'pallas-gpu'.",
        )
    if site.q_length != site.kv_length:
        return Support(
            False,
            f"rows={rows!r} is for {site.q_length} queries over their own tokens, not {site.kv_length}: use 'any'.",
        )
    return rule_support(site.rule)


def rule_support(rule: Visibility) -> Support:
    """Whether a rule is causal order, all to all, or causal with a window."""
    if rule.causal_block not in (None, 1):
        return Support(False, f"it has no causal blocks of {rule.causal_block}: set rows='any', or use 'pallas-gpu'.")
    if rule.window is not None and rule.causal_block is None:
        return Support(False, "it has no windows to both sides: set rows='any', or use 'pallas-gpu'.")
    return Support(True)


def checked(
    q: Float[Array, "B T H D"], q_at: TokenCoords, kv_at: TokenCoords, rows: Rows, documents: int | None = None
) -> Float[Array, "B T H D"]:
    """The queries, in a program that stops with an error where the rows are not what was promised."""
    if rows == "any":
        return q
    position, segment = q_at.position, q_at.segment
    starts = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    rising = jnp.pad(position[:, 1:] == position[:, :-1] + 1, ((0, 0), (1, 0)))
    live = segment != 0
    padding_last = ~(live & jnp.pad(~live[:, :-1], ((0, 0), (1, 0))))
    good = (starts | rising | ~live).all() & padding_last.all()
    good &= (position == kv_at.position).all() & (segment == kv_at.segment).all()
    if rows == "document":
        documents = 1
    if documents is not None:
        good &= ((starts & live).sum(axis=1) <= documents).all()
    return eqx.error_if(
        q,
        ~good,
        f"rows={rows!r} promises documents one after another, positions rising by one, padding last"
        + (f", at most {documents} a row" if documents is not None else "")
        + ", and the same coordinates for keys; these rows are otherwise: set rows='any'.",
    )


class Spans(NamedTuple):
    """First slot, and one past the last, of each token's document."""

    first: Int32[Array, "B T"]
    end: Int32[Array, "B T"]

    @staticmethod
    def of(segment: Int32[Array, "B T"]) -> "Spans":
        length = segment.shape[1]
        slot = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), segment.shape)
        change = segment[:, 1:] != segment[:, :-1]
        starts = jnp.pad(change, ((0, 0), (1, 0)), constant_values=True)
        ends = jnp.pad(change, ((0, 0), (0, 1)), constant_values=True)
        first = jax.lax.cummax(jnp.where(starts, slot, 0), axis=1)
        return Spans(first, jax.lax.cummin(jnp.where(ends, slot + 1, length), axis=1, reverse=True))


def blanked(x: Float[Array, "B T H D"], live: Bool[Array, "B T"]) -> Float[Array, "B T H D"]:
    """Zero where there is no document, in the gradient too, whatever stood there."""
    return jnp.where(live[:, :, None, None], x, 0)


def evened(x: Any) -> Any:
    """An array or coordinates with one more slot of padding where the length is odd."""
    if isinstance(x, TokenCoords):
        return TokenCoords(evened(x.position), evened(x.segment))
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), *((0, 0),) * (x.ndim - 2)))


def pairs(q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> tuple[Bool[Array, "B 1 T S"], Bool[Array, "B T"]]:
    """(mask, which queries see anything); the others are let see everything, so that no softmax is over nothing."""
    seen = rule.mask(q_at, kv_at)
    sighted = seen.any(axis=-1)
    return (seen | ~sighted[:, :, None])[:, None], sighted
