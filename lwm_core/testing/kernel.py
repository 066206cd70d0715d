"""The conformance kit of block kernels.

Owns `check_kernel`: a kernel is run on two blocks of keys as a schedule would run it, the partial outputs
merged by log-sum-exp, and every gradient computed from the global statistics; the sum must be the
definition's.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention.base import AbstractBlockKernel, AbstractRunningKernel, AttentionSite
from lwm_core.attention.coords import Visibility
from lwm_core.attention.merge import merge
from lwm_core.testing.attention import (
    CASES,
    Answer,
    AttentionCase,
    Inputs,
    assert_near,
    inputs_of,
    oracle,
    tolerance,
)
from lwm_core.testing.unchecked import excuse


def check_kernel(kernel: AbstractBlockKernel, cases: tuple[AttentionCase, ...] = CASES) -> None:
    """Raises AssertionError where the kernel breaks its contract, or refuses every case.

    Raises `Unchecked` where it refuses every case on this machine and serves some on another.
    """
    sites, refusals = [], []
    for case in cases:
        inputs = inputs_of(case)
        site = AttentionSite.of(inputs.q, inputs.k, case.rule)._replace(mesh={})
        support = kernel.supports(site)
        if not support.ok:
            assert support.reason.strip(), f"{case.name}: a refusal must say why in a sentence."
            refusals.append(f"{case.name}: {support.reason}")
            sites.append(site)
            continue
        expected, within = oracle(inputs, case.rule), tolerance(case.dtype)
        compare(run_in_blocks(kernel, case, inputs), expected, within, case.name)
        if isinstance(kernel, AbstractRunningKernel):
            _check_running(kernel, case, inputs, expected, within)
    if len(sites) == len(cases):
        excuse(kernel, sites, refusals)


def run_in_blocks(
    kernel: AbstractBlockKernel, case: AttentionCase, inputs: Inputs, lse_dtype: str = "float32"
) -> Answer:
    """The kernel over two halves of the keys, as a schedule composes it."""
    q, k, v, dout = map(jnp.asarray, inputs[:4])
    q_at, kv_at = inputs.coords(summed_up=case.summed_up)
    half, end = k.shape[1] // 2, k.shape[1]
    blocks = [(k[:, a:b], v[:, a:b], kv_at.cut(a, b)) for a, b in ((0, half), (half, end))]
    forward, backward = _compiled(kernel, case.rule)
    parts = [forward(q, *block, q_at) for block in blocks]
    for part in parts:
        assert part.lse.dtype == lse_dtype, f"{kernel}: lse must be {lse_dtype}, not {part.lse.dtype}."
    whole, delta = _merged(parts, dout)
    grads = [backward(q, *block, q_at, whole.lse, delta, dout) for block in blocks]
    dk, dv = (np.concatenate([grad[n] for grad in grads], axis=1) for n in (1, 2))
    found = whole.out, whole.lse, np.asarray(grads[0].dq) + np.asarray(grads[1].dq), dk, dv
    return Answer(*(np.asarray(x, np.float64) for x in found))


def run_whole(kernel: AbstractBlockKernel, case: AttentionCase, inputs: Inputs, expected: Answer) -> Answer:
    """The kernel over all keys at once; gradients from its own log-sum-exp and the true delta."""
    q, k, v, dout = map(jnp.asarray, inputs[:4])
    q_at, kv_at = inputs.coords()
    forward, backward = _compiled(kernel, case.rule)
    part = forward(q, k, v, kv_at, q_at)
    delta = np.einsum("bthd,bthd->bht", expected.out, inputs.dout.astype(np.float64))
    grads = backward(q, k, v, kv_at, q_at, part.lse, jnp.asarray(delta, part.lse.dtype), dout)
    return Answer(*(np.asarray(x, np.float64) for x in (*part, *grads)))


def _check_running(kernel: AbstractRunningKernel, case: AttentionCase, inputs: Inputs, expected: Answer, within):
    """What the kernel carries over three unequal blocks must end in the definition's output and log-sum-exp."""
    q, k, v = map(jnp.asarray, inputs[:3])
    q_at, kv_at = inputs.coords()
    cuts = 0, k.shape[1] // 4, k.shape[1] // 2 + 1, k.shape[1]

    @jax.jit
    def run(q, k, v, q_at, kv_at):
        running = kernel.start(q)
        for start, stop in zip(cuts, cuts[1:], strict=False):
            key, value = k[:, start:stop], v[:, start:stop]
            running = kernel.accumulate(running, q, key, value, q_at, kv_at.cut(start, stop), case.rule)
        return kernel.result(running, q)

    out, lse = (np.asarray(x, np.float64) for x in run(q, k, v, q_at, kv_at))
    compare(expected._replace(out=out, lse=lse), expected, within, f"{case.name}, carried over three blocks")


@lru_cache(maxsize=32)
def _compiled(kernel: AbstractBlockKernel, rule: Visibility):
    """The kernel's two methods under jit, kept so that many inputs of one shape compile once."""

    @jax.jit
    def forward(q, k, v, kv_at, q_at):
        return kernel.forward(q, k, v, q_at, kv_at, rule)

    @jax.jit
    def backward(q, k, v, kv_at, q_at, lse, delta, dout):
        return kernel.backward(q, k, v, q_at, kv_at, rule, lse, delta, dout)

    return forward, backward


@jax.jit
def _merged(parts, dout):
    whole = merge(*parts)
    return whole, jnp.einsum("bthd,bthd->bht", whole.out, dout.astype(whole.out.dtype))


def compare(found: Answer, expected: Answer, within: float, name: str) -> None:
    """Raises AssertionError naming the first result that is off; empty rows must be empty in both."""
    blind = np.isneginf(expected.lse)
    assert np.array_equal(np.isneginf(found.lse), blind), f"{name}: lse must be -inf exactly where no key is seen."
    lse = [np.where(blind, 0, x.lse) for x in (found, expected)]
    for field, got, want in [
        *((n, getattr(found, n), getattr(expected, n)) for n in ("out", "dq", "dk", "dv")),
        ("lse", *lse),
    ]:
        assert_near(got, want, within, f"{name}: {field}")
    assert not found.out[blind.transpose(0, 2, 1)].any(), f"{name}: a query that sees no key must give zero."
