"""The Hopper kernel without a GPU: interpreted against the definition, lowered for CUDA, and what it refuses.

What only a GPU can show (speed, and wgmma's own rounding) is `benchmarks/gpu.py`'s; what ptxas says of registers is
`benchmarks/gpu_compile.py`'s.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call as interpreter
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

from lwm_core.attention import AttentionSite, LocalAttention, TokenCoords, Visibility
from lwm_core.testing.attention import AttentionCase, inputs_of, oracle, tolerance, visible_pairs
from lwm_core.testing.kernel import check_kernel, compare, run_whole
from lwm_pallas.gpu import forward as ahead
from lwm_pallas.gpu.kernel import HopperKernel
from lwm_pallas.gpu.machine import Interpreted
from lwm_pallas.gpu.operands import Run, Sight, Sizes, Visits


KERNEL = HopperKernel(interpret=True)
SITE = AttentionSite(1, 4096, 4096, 8, 2, 128, "bfloat16", Visibility(), {}, "gpu")
CASES = (
    AttentionCase("packed, grouped, padded", Visibility(), 260, heads=(2, 1), documents=3, dtype="bfloat16"),
    AttentionCase("frames and window, any order", Visibility(3, 40), 200, None, (2, 2), 2, shuffled=True,
                  dtype="float16"),
    AttentionCase("an empty row", Visibility(None), 70, 190, (2, 1), 2, 40, dead=True, dtype="bfloat16"),
)  # fmt: skip


def test_the_kit_as_a_schedule_runs_it(compile_once):
    check_kernel(KERNEL, (AttentionCase("a chunk against a cache", Visibility(window=11), 5, 40, (2, 1),
                                        documents=1, dtype="bfloat16"),))  # fmt: skip


_SLOW = pytest.mark.slow
_PAIRS = [
    pytest.param(case, dim, marks=() if n == m else _SLOW, id=f"{case.name}, {dim}")
    for n, case in enumerate(CASES)
    for m, dim in enumerate((64, 128, 256))
]


@pytest.mark.parametrize(("case", "dim"), _PAIRS)
def test_interpreted_it_is_the_definition(case, dim, compile_once):
    """Rings, barriers, visits, grouped heads and gradients; every head size has its own division of labour."""
    inputs = inputs_of(case, batch=2 if case.dead else 1, dim=dim)
    expected = oracle(inputs, case.rule)
    compare(run_whole(KERNEL, case, inputs, expected), expected, tolerance(case.dtype), case.name)


def test_no_warpgroup_reads_what_another_is_writing(compile_once):
    case = CASES[0]
    q, k, v = map(jnp.asarray, inputs_of(case, batch=1, dim=64)[:3])
    at = inputs_of(case, batch=1, dim=64).coords()
    machine = Interpreted(InterpretGPUParams(detect_races=True))
    run = jax.jit(lambda *x: ahead.forward(machine, *x, case.rule, block_k=64, stages=2, out_dtype=jnp.float32))
    jax.block_until_ready(run(q, k, v, *at))
    assert not interpreter.get_races().races_found


@pytest.mark.parametrize(("dim", "dtype"), [(64, "float16"), (80, "bfloat16"), (128, "bfloat16"), (256, "bfloat16")])
def test_it_lowers_for_cuda(dim, dtype):
    """All of Mosaic that runs in Python, for each kernel: no GPU and no CUDA needed."""
    q, k = (jax.ShapeDtypeStruct((2, 300, heads, dim), dtype) for heads in (4, 2))
    at = TokenCoords.of_rows(2, 300)

    def loss(q, k, v):
        out = LocalAttention(HopperKernel())(q, k, v, q_at=at, kv_at=at, rule=Visibility(4, 100))
        return out.astype(jnp.float32).sum()

    function = jax.jit(jax.grad(loss, (0, 1, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        patch.setattr(jax, "devices", lambda: [_H100()])
        program = function.trace(q, k, k).lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("mosaic_gpu_v2") == 3


class _H100:
    compute_capability = "9.0"


def test_it_lowers_a_carried_softmax():
    q = jax.ShapeDtypeStruct((1, 128, 2, 64), "bfloat16")
    at = TokenCoords.of_rows(1, 128)

    def twice(q, k, v):
        kernel = HopperKernel()
        carry = kernel.accumulate(kernel.start(q), q, k, v, at, at, Visibility())
        return kernel.result(kernel.accumulate(carry, q, k, v, at, at, Visibility()), q)

    program = jax.jit(twice).trace(q, q, q).lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("mosaic_gpu_v2") == 2


_RULES = st.builds(
    Visibility,
    st.one_of(st.none(), st.integers(1, 9), st.just(2**31 - 1)),
    st.one_of(st.none(), st.integers(1, 40), st.just(2**31 - 1)),
)


@settings(max_examples=30, deadline=None)
@given(_RULES, st.integers(0, 2**32 - 1), st.booleans())
def test_planes_say_what_the_rule_says(rule, seed, shuffled):
    """The three comparisons of the kernels' mask are `Visibility`'s rule, at the largest integers too."""
    case = AttentionCase("", rule, 64, documents=3, shuffled=shuffled)
    inputs = inputs_of(case, seed, batch=1)
    at, _ = inputs.coords()
    sight = Sight.of(rule)
    queries, keys = sight.of_queries(at, rule, 64), sight.of_keys(at, 64)
    machine = OnHost(None)
    rows, zeros = list(queries[0]), jnp.zeros((64, 64))
    seen = ~jnp.isneginf(sight.hidden(zeros, rows, _Refs(keys[0]), machine, queries_are_rows=True))
    np.testing.assert_array_equal(seen, visible_pairs(inputs.q_at, inputs.kv_at, rule)[0])
    turned = ~jnp.isneginf(sight.hidden(zeros, list(keys[0]), _Refs(queries[0]), machine, queries_are_rows=False))
    np.testing.assert_array_equal(turned, np.asarray(seen).T)


class OnHost(Interpreted):
    """Outside any kernel."""

    def columns(self, ref):
        return ref[...]


class _Refs:
    """Planes as a kernel finds them in memory."""

    def __init__(self, planes):
        self.at = planes


@settings(max_examples=20, deadline=None)
@given(_RULES, st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_visits_meet_every_visible_pair_once_and_mask_what_needs_it(rule, seed, shuffled, by_key):
    """In both directions; and for rows in order, no block without a visible pair is met."""
    case = AttentionCase("", rule, 96, documents=4, shuffled=shuffled)
    inputs = inputs_of(case, seed, batch=1)
    sizes = Sizes.of((1, 96, 1, 64), (1, 96, 1, 64), 8, 16)
    q_at, kv_at = inputs.coords()
    visits = (Visits.by_key if by_key else Visits.by_query)(sizes, q_at, kv_at, rule)
    pairs = visible_pairs(inputs.q_at, inputs.kv_at, rule)[0].reshape(12, 8, 6, 16)
    some, every = pairs.any((1, 3)), pairs.all((1, 3))
    some, every = (some.T, every.T) if by_key else (some, every)
    assert sorted(visits.heaviest[0].tolist()) == list(range(len(some)))
    for outer in range(len(some)):
        run = Run.read(visits.bounds, 0, outer)
        met = {}
        for t in range(int(run.steps)):
            masked = t >= int(run.plain)
            inner = int(visits.order[0, int(run.place(t, masked))])
            assert inner not in met
            met[inner] = masked
        assert set(np.flatnonzero(some[outer])) <= set(met)
        assert all(every[outer, inner] for inner, masked in met.items() if not masked)
        if not shuffled and rule.causal_block == 1 and rule.window is None:
            assert set(met) == set(np.flatnonzero(some[outer]))


def test_heads_of_a_group_take_turns():
    run = Run(*map(jnp.int32, (3, 5, 2, 7)))
    steps = [tuple(map(int, run.of_head(jnp.int32(n), 3, n >= 6))) for n in range(21)]
    assert sorted(steps) == [(head, t) for head in range(3) for t in range(7)]
    assert all(t < 2 for _, t in steps[:6]) and all(t >= 2 for _, t in steps[6:])


@pytest.mark.parametrize(
    ("kernel", "site", "words"),
    [
        (HopperKernel(), SITE._replace(platform="cpu"), "compiled for NVIDIA Hopper"),
        (HopperKernel(), SITE._replace(dtype="float32"), "bfloat16 or float16, not float32"),
        (HopperKernel(), SITE._replace(head_dim=512), "heads of 512"),
        (HopperKernel(), SITE._replace(kv_heads=3), "do not divide"),
        (HopperKernel(forward_block=256, forward_stages=4), SITE, "544 KiB"),
        (HopperKernel(key_stages=4), SITE._replace(head_dim=256), "key_block=64"),
    ],
)
def test_refuses_what_it_cannot_do(kernel, site, words):
    support = kernel.supports(site)
    assert not support.ok and words in support.reason


def test_refuses_other_gpus(monkeypatch):
    class B200:
        compute_capability = "10.0"

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [B200()])
    assert "has 10.0" in HopperKernel().supports(SITE).reason


def test_serves_hopper_with_every_head_size():
    for dim in (8, 64, 80, 128, 192, 256):
        assert HopperKernel().supports(SITE._replace(head_dim=dim)) == (True, ""), dim
    with pytest.raises(ValueError, match="64, 128, 192 or 256"):
        HopperKernel(forward_block=100)
    with pytest.raises(ValueError, match="'float32' or 'input'"):
        HopperKernel(out="bfloat16")
