"""The one gradient of attention.

Owns `attend`: a custom derivative over any pair of forward and backward that speak the block kernel's terms,
be it one kernel on one device or a schedule over many. A schedule therefore never meets autodiff. It does not
decide where arrays lie (`Placement`) or how shards talk (the schedules in plugins).
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from lwm_core.attention.base import BlockGrads, BlockOut
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.attention.placement import Placement


@runtime_checkable
class Schedule(Protocol):
    """What runs on each shard: a block kernel's two methods, free to use collectives.

    `forward` returns the output and the log-sum-exp over *all* keys; `backward` gets that log-sum-exp and
    returns the gradients of this shard's own q, k and v.
    """

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut: ...

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads: ...


def attend(
    schedule: Schedule,
    placement: Placement,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
) -> Float[Array, "B T H D"]:
    """The schedule's attention on global arrays, in q's dtype, with its own gradient.

    Rematerialisation may keep the names "attention_out" and "attention_lse" to spare a second forward.
    """
    function = _differentiable(schedule, placement, rule)
    if placement.alone:
        return function(q, k, v, q_at, kv_at)
    fitted = [placement.fit(q, placement.q_axis), *(placement.fit(x, placement.kv_axis) for x in (k, v))]
    coords = placement.fit(q_at, placement.q_axis), placement.fit(kv_at, placement.kv_axis)
    return placement.restore(function(*fitted, *coords), q)


def _differentiable(schedule: Schedule, placement: Placement, rule: Visibility):
    forward, backward = _placed(schedule, placement, rule)

    @jax.custom_vjp
    def function(q, k, v, q_at, kv_at):
        return forward(q, k, v, q_at, kv_at)[0].astype(q.dtype)

    def ahead(q, k, v, q_at, kv_at):
        out, lse = forward(q, k, v, q_at, kv_at)
        out = checkpoint_name(out.astype(q.dtype), "attention_out")
        return out, (q, k, v, q_at, kv_at, out, checkpoint_name(lse, "attention_lse"))

    def back(kept, dout):
        q, k, v, q_at, kv_at, out, lse = kept
        product = dout.astype(lse.dtype) * out.astype(lse.dtype)
        # A product with ones, since XLA on CPU is slow at sums over a short last axis.
        ones = jnp.ones(product.shape[-1], product.dtype)
        delta = jnp.einsum("bthd,d->bht", product, ones, precision=jax.lax.Precision.HIGHEST)
        grads = backward(q, k, v, q_at, kv_at, lse, delta, dout)
        dq, dk, dv = (grad.astype(x.dtype) for grad, x in zip(grads, (q, k, v), strict=True))
        return dq, dk, dv, None, None

    function.defvjp(ahead, back)
    return function


def _placed(schedule: Schedule, placement: Placement, rule: Visibility):
    """The schedule's two functions on global arrays, the static rule bound, results as plain tuples."""

    def forward(q, k, v, q_at, kv_at):
        return tuple(schedule.forward(q, k, v, q_at, kv_at, rule))

    def backward(q, k, v, q_at, kv_at, lse, delta, dout):
        return tuple(schedule.backward(q, k, v, q_at, kv_at, rule, lse, delta, dout))

    if placement.alone:
        return forward, backward
    queries, keys = placement.spec(placement.q_axis, heads=True), placement.spec(placement.kv_axis, heads=True)
    stat = placement.stat_spec()
    inputs = queries, keys, keys, placement.spec(placement.q_axis), placement.spec(placement.kv_axis)
    return (
        placement.run(forward, inputs, (queries, stat)),
        placement.run(backward, (*inputs, stat, stat, queries), (queries, keys, keys)),
    )
