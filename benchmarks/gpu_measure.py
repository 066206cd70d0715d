"""How one process of `gpu.py` measures one figure, and checks the kernel on this machine.

Owns contenders as functions of arrays, passes, interleaved times, and the error of each contender against the
definition in float32 over some queries. It talks through `tell`: ("busy", whom), ("record", what was found).
"""

import statistics
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import (
    AbstractBlockKernel,
    BlockGrads,
    BlockOut,
    BlockwiseKernel,
    LocalAttention,
    Placement,
    TokenCoords,
    Visibility,
    attend,
)
from lwm_core.attention.merge import accumulator
from lwm_core.attention.pairs import attended_pairs
from lwm_core.bench import Case
from lwm_core.bench.counts import BACKWARD_OVER_FORWARD, flops
from lwm_core.bench.peers import PEERS
from lwm_core.testing.attention import AttentionCase, inputs_of, oracle, tolerance
from lwm_core.testing.kernel import compare, run_whole
from lwm_pallas.gpu.kernel import HopperKernel


Tell = Callable[..., None]
# A sample is as many calls as fill this time, so that starting one does not count.
_SAMPLE_SECONDS = 0.03
_QUERIES = 16
_HEADS = (64, 128, 256)
_CHECKS = (
    AttentionCase("causal, packed, grouped heads, one empty row", Visibility(), 700, dead=True, documents=5),
    AttentionCase("a window over an odd length, one key head", Visibility(window=100), 517, heads=(4, 1)),
    AttentionCase("frames and a two-sided window, shuffled", Visibility(16, 90), 384, tail=0, shuffled=True),
    AttentionCase("all to all", Visibility(None), 300, heads=(2, 2)),
    AttentionCase("one token against a cache", Visibility(), 1, 640, documents=1, tail=9),
)


def check(tell: Tell, dry: bool) -> None:
    """The kernel, forward and backward, against the definition in float64, by head size and dtype."""
    kernel = BlockwiseKernel(64, 64) if dry else HopperKernel()
    each = [(case, dim, "bfloat16") for case in _CHECKS[:3] for dim in _HEADS]
    each += [(case, 128, "bfloat16") for case in _CHECKS[3:]] + [(_CHECKS[0], 128, "float16")]
    for case, dim, dtype in each:
        name = f"{case.name}, heads of {dim}, {dtype}"
        tell("busy", name)
        _attempt(tell, name, partial(_check, kernel, case._replace(dtype=dtype), dim))


def _check(kernel: AbstractBlockKernel, case: AttentionCase, dim: int) -> None:
    inputs = inputs_of(case, dim=dim)
    expected = oracle(inputs, case.rule)
    compare(run_whole(kernel, case, inputs, expected), expected, tolerance(case.dtype), case.name)


def _attempt(tell: Tell, name: str, run: Callable[[], None]) -> None:
    try:
        run()
    except Exception as error:
        tell("record", {"check": name, "failed": _short(error)})
    else:
        tell("record", {"check": name, "passed": True})


class Chunked(NamedTuple):
    """A ring's arithmetic on one device: the keys in chunks, one after another, the softmax carried."""

    kernel: AbstractBlockKernel
    chunks: int

    def forward(self, q, k, v, q_at, kv_at, rule) -> BlockOut:
        adding = accumulator(self.kernel)
        running = adding.start(q)
        for part in self._parts(k, v, kv_at):
            running = adding.accumulate(running, q, *part[:2], q_at, part[2], rule)
        return adding.result(running, q)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout) -> BlockGrads:
        parts = self._parts(k, v, kv_at)
        grads = [self.kernel.backward(q, *part[:2], q_at, part[2], rule, lse, delta, dout) for part in parts]
        dk, dv = (jnp.concatenate([grad[n] for grad in grads], axis=1) for n in (1, 2))
        return BlockGrads(sum((grad.dq for grad in grads[1:]), grads[0].dq), dk, dv)

    def _parts(self, k, v, kv_at) -> list[tuple]:
        size = -(-k.shape[1] // self.chunks)
        spans = [slice(at, at + size) for at in range(0, k.shape[1], size)]
        return [(k[:, s], v[:, s], TokenCoords(kv_at.position[:, s], kv_at.segment[:, s])) for s in spans]


class Measured(NamedTuple):
    """One contender on one pass, ready to be timed."""

    run: Callable[[], Any]
    temporary_bytes: int | None
    result: Callable[[], jax.Array]


def measure(tell: Tell, figure: Any, dry: bool) -> None:
    """All passes of a figure, contenders in turns."""
    case = figure.case
    position, segment = (jnp.asarray(x) for x in case.coordinates())
    arrays = _arrays(case)
    truth = _truth(case, arrays, position, segment)
    pairs = int(attended_pairs(*case.coordinates(), case.rule).sum())
    for direction in figure.passes:
        ready = {}
        for name in figure.contenders:
            tell("busy", name)
            try:
                found = _prepared(*_contender(name, case, dry), arrays, direction)
                error = _error(found.result(), truth[direction != "forward"])
            except Exception as problem:
                tell("record", {"contender": name, "direction": direction, "failed": _short(problem)})
            else:
                ready[name] = found, error
        for record in _raced(tell, ready, figure.rounds):
            work = _work(pairs, case, direction) / record["seconds_median"]
            tell("record", {**record, "direction": direction, "attended_pairs": pairs, "flops_per_second": work})


def _arrays(case: Case) -> tuple[jax.Array, ...]:
    heads = case.heads, case.kv_heads, case.kv_heads, case.heads
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(case.batch, case.length, n, case.head_dim) for n in heads]
    return tuple(jax.random.normal(key, shape, case.dtype) for key, shape in zip(keys, shapes, strict=True))


def _contender(name: str, case: Case, dry: bool) -> tuple[Callable[..., jax.Array], list]:
    """(attention of q, k, v and further arrays, those arrays)."""
    if name in PEERS:
        peer: Any = PEERS[name]
        support = peer.supports(case)
        if not support.ok:
            raise ValueError(support.reason)
        call, extras = peer.call(case, case.coordinates()[0])
        return call, [jnp.asarray(x) for x in extras]
    kind, *words = name.split()
    options = {key: int(value) for key, value in (word.split("=") for word in words)}
    chunks = int(kind.removeprefix("ring-")) if kind.startswith("ring-") else 0
    out = "float32" if chunks else "input"
    kernel = BlockwiseKernel(64, 64) if dry else HopperKernel(out=out, **options)

    def attention(q, k, v, position, segment):
        at = TokenCoords(position, segment)
        if chunks:
            return attend(Chunked(kernel, chunks), Placement({}), q, k, v, at, at, case.rule)
        return LocalAttention(kernel)(q, k, v, q_at=at, kv_at=at, rule=case.rule)

    return attention, [jnp.asarray(x) for x in case.coordinates()]


def _prepared(call, extras, arrays, direction: str) -> Measured:
    q, k, v, dout = arrays

    def ahead(q, k, v, *extras):
        return jax.vjp(lambda q, k, v: call(q, k, v, *extras), q, k, v)

    if direction == "forward":
        inputs, program = (q, k, v, *extras), call
    elif direction == "backward":
        _, pull = jax.jit(ahead)(q, k, v, *extras)
        inputs, program = (pull, dout), lambda pull, dout: pull(dout)
    else:
        inputs, program = (q, k, v, dout, *extras), lambda q, k, v, dout, *extras: ahead(q, k, v, *extras)[1](dout)
    ready = jax.jit(program).lower(*inputs).compile()
    memory = ready.memory_analysis()

    def result() -> jax.Array:
        found = ready(*inputs)
        return found if direction == "forward" else found[0]

    return Measured(lambda: ready(*inputs), None if memory is None else memory.temp_size_in_bytes, result)


def _raced(tell: Tell, ready: dict[str, tuple[Measured, float]], rounds: int) -> list[dict[str, Any]]:
    """Medians of rounds in which everybody takes a turn."""
    calls, samples = {}, {name: [] for name in ready}
    for name, (entry, _) in ready.items():
        tell("busy", name)
        calls[name] = max(1, int(_SAMPLE_SECONDS / _timed(entry, 1)))
    for _ in range(rounds):
        for name, (entry, _) in ready.items():
            tell("busy", name)
            samples[name].append(_timed(entry, calls[name]))
    return [
        {
            "contender": name,
            "seconds_median": statistics.median(samples[name]),
            "seconds_least": min(samples[name]),
            "samples": rounds,
            "calls_per_sample": calls[name],
            "temporary_bytes": entry.temporary_bytes,
            "error": error,
        }
        for name, (entry, error) in ready.items()
    ]


def _timed(entry: Measured, calls: int) -> float:
    begun = time.perf_counter()
    results = [entry.run() for _ in range(calls)][-1]
    jax.block_until_ready(results)
    return (time.perf_counter() - begun) / calls


def _work(pairs: int, case: Case, direction: str) -> float:
    ahead = flops(pairs, case.heads, case.head_dim, backward=False)
    return ahead * {"forward": 1, "backward": BACKWARD_OVER_FORWARD}.get(direction, 1 + BACKWARD_OVER_FORWARD)


def _truth(case: Case, arrays, position, segment) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, query gradients) of some queries, by the definition in float32."""
    chosen = np.unique(np.linspace(0, case.length - 1, _QUERIES).astype(int))

    @jax.jit
    def some(q, k, v, dout, position, segment):
        def of(q):
            at = TokenCoords(position[:, chosen], segment[:, chosen])
            seen = case.rule.mask(at, TokenCoords(position, segment))[:, None, None]
            split = q.reshape(*q.shape[:2], case.kv_heads, -1, case.head_dim)
            with jax.default_matmul_precision("highest"):
                scores = jnp.einsum("btgrd,bsgd->bgrts", split, k.astype(jnp.float32)) * case.head_dim**-0.5
                weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
                return jnp.einsum("bgrts,bsgd->btgrd", weights, v.astype(jnp.float32)).reshape(q.shape)

        out, pull = jax.vjp(of, q[:, chosen].astype(jnp.float32))
        return out, pull(dout[:, chosen].astype(jnp.float32))[0]

    out, dq = some(*arrays, position, segment)
    return np.asarray(out), np.asarray(dq)


def _error(found: jax.Array, true: np.ndarray) -> float:
    """The largest difference over the largest true value."""
    chosen = np.unique(np.linspace(0, found.shape[1] - 1, _QUERIES).astype(int))
    got = np.asarray(found[:, chosen].astype(jnp.float32))
    return float(np.abs(got - true).max() / np.abs(true).max())


def _short(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {where.name}: {str(error).strip()[:400]}"
