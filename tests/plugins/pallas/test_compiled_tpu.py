"""The TPU kernel, compiled by the TPU's own compiler for every generation; nothing runs, there is no TPU here.

libtpu comes with `.[dev]` on Linux, so that these tests cannot go missing where the project is checked.
"""

import importlib.util
import platform
import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from lwm_core.attention import LocalAttention, TokenCoords, Visibility
from lwm_core.mesh import MeshSpec, compile_ahead, tpu_devices
from lwm_core.model import TransformerFamily
from lwm_pallas.tpu.kernel import TPUKernel
from lwm_ring.ring import RingAttention


pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None and (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="libtpu is for Linux on x86-64",
)

KEY = jax.random.key(0)
CASES = [
    ("v4", "bfloat16", 128, Visibility()),
    ("v5e", "float32", 64, Visibility(4, 100)),
    ("v5p", "bfloat16", 256, Visibility(window=200)),
    ("v6e", "bfloat16", 64, Visibility(None)),
]


def compiled(generation, dtype, dim, rule, length, kernel, heads=(4, 2), grad=True):
    """Forward and backward of packed rows with grouped heads, for one chip."""
    where = SingleDeviceSharding(tpu_devices(generation)[0])
    shape = lambda *sizes, dtype=dtype: jax.ShapeDtypeStruct(sizes, dtype, sharding=where)  # noqa: E731
    q, k = (shape(1, length, count, dim) for count in heads)
    ints = shape(1, length, dtype="int32")

    def loss(q, k, v, position, segment):
        at = TokenCoords(position, segment)
        out = LocalAttention(kernel)(q, k, v, q_at=at, kv_at=at, rule=rule)
        return out.astype(jnp.float32).sum()

    return compile_ahead(jax.jit(jax.grad(loss, (0, 1, 2)) if grad else loss).lower(q, k, k, ints, ints))


@pytest.mark.parametrize(("generation", "dtype", "dim", "rule"), CASES, ids=str)
def test_forward_and_backward_compile(generation, dtype, dim, rule):
    kernel = TPUKernel(block_q=128, block_k=128, interpret=False)
    text = compiled(generation, dtype, dim, rule, 300, kernel).as_text()
    assert set(re.findall(r"attention_(\w+?)(?:\.| |_)", text)) >= {"forward", "dq", "dkv"}
    assert text.count("tpu_custom_call") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["v4", "v5e", "v5p", "v6e"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("dim", [64, 128, 256])
def test_the_default_blocks_fit_the_memory_of_every_generation(generation, dtype, dim):
    """Mosaic refuses what does not fit its vector memory; with frames and a window, most operands are needed."""
    compiled(generation, dtype, dim, Visibility(4, 3000), 4096, TPUKernel(interpret=False))


def test_memory_grows_with_the_row_and_not_with_its_square():
    """From 64 to 512 blocks a side, tables of visits included."""
    kernel = TPUKernel(block_q=128, block_k=128, interpret=False)
    lengths = 8192, 65536
    used = [
        compiled("v5e", "bfloat16", 128, Visibility(), n, kernel, (2, 1), grad=False)
        .memory_analysis()
        .temp_size_in_bytes
        for n in lengths
    ]
    assert used[1] <= 1.3 * used[0] * lengths[1] / lengths[0], used


def test_a_ring_copies_and_merges_nothing_between_hops():
    """In the compiled ring the running output is read and written by the kernel alone, under the transfers."""
    mesh = MeshSpec(sp=4).make(tpu_devices("v5e"))
    with jax.set_mesh(mesh):

        def shape(*sizes, dtype="bfloat16"):
            spec = PartitionSpec(None, "sp", *[None] * (len(sizes) - 2))
            return jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(mesh, spec))

        def run(q, k, v, position, segment):
            at = TokenCoords(position, segment).with_extents()
            ring = RingAttention(TPUKernel(block_q=128, block_k=128, interpret=False))
            return ring(q, k, v, q_at=at, kv_at=at, rule=Visibility())

        q, k, ints = shape(1, 2048, 4, 128), shape(1, 2048, 2, 128), shape(1, 2048, dtype="int32")
        text = compile_ahead(jax.jit(run).lower(q, k, k, ints, ints)).as_text()
    running = r"f32\[1,4,512,128\]\S*"
    assert re.search(rf"\({running}, f32\[1,4,2,512\]\S*\) custom-call", text), "the kernel carries the softmax"
    assert not re.search(rf"= {running} copy\(", text)
    (body,) = [part for part in text.split("\n\n") if "collective-permute-start(" in part]
    order = re.findall(r"(collective-permute-start|collective-permute-done|conditional)\(", body)
    assert order == ["collective-permute-start"] * 3 + ["conditional"] + ["collective-permute-done"] * 3


def test_a_decoding_step_reads_eight_bits_in_the_compiled_program():
    """A step of one token on a cache of int8: the kernel is in it, and no cache in the dtype of the queries."""
    family = TransformerFamily(vocab_size=64, width=512, layers=2, heads=8, kv_heads=2, ffn=256, dtype="bfloat16")
    attention = LocalAttention(TPUKernel(block_q=128, block_k=512, interpret=False))
    model = eqx.filter_eval_shape(lambda: eqx.tree_at(lambda m: m.attention, family.init(key=KEY), attention))
    cache = jax.eval_shape(lambda: family.init(key=KEY).empty_cache(1, 8192, "int8"))
    where = SingleDeviceSharding(tpu_devices("v5e")[0])
    arrays, rest = eqx.partition((model, cache), lambda x: isinstance(x, jax.ShapeDtypeStruct))

    def step(arrays, token):
        model, cache = eqx.combine(arrays, rest)
        return model.hidden(token, TokenCoords.of_rows(1, 1, 9), cache=cache)

    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), arrays)
    token = jax.ShapeDtypeStruct((1, 1), "int32", sharding=where)
    text = compile_ahead(jax.jit(step).lower(placed, token)).as_text()
    assert "attention_forward" in text
    assert not re.search(r"(?:bf16|f32)\[(?:2,)?1,8192,2,64\]", text)
