"""What the GPU peers are told of packed documents and windows, and that a CPU is refused with a sentence."""

import numpy as np

from lwm_core.bench.case import Case
from lwm_core.bench.peers import PEERS
from lwm_core.bench.peers.cudnn import spans
from lwm_core.bench.peers.tokamax import first_keys
from lwm_core.testing.attention import visible_pairs


PACKED = Case("packed", "", length=60, batch=2, documents=(1, 2, 3), window=6, dtype="bfloat16")


def test_first_keys_and_causal_order_are_the_rule():
    inputs = PACKED.inputs()
    slot = np.arange(PACKED.length)
    seen = (slot[None, None] >= first_keys(PACKED, inputs.position)[..., None]) & (slot[None, :] <= slot[:, None])[None]
    at = inputs.position, inputs.segment
    np.testing.assert_array_equal(seen, visible_pairs(at, at, PACKED.rule))


def test_documents_as_cudnn_wants_them():
    lengths, first = spans(PACKED.coordinates()[0])
    assert lengths.tolist() == [[10, 20, 30]] * 2 and first.tolist() == [[0, 10, 30, -1]] * 2


def test_a_cpu_is_refused_with_a_sentence():
    for name in ("cudnn-direct", "tokamax-direct"):
        assert PEERS[name].supports(PACKED) == (False, "it needs an NVIDIA GPU and this is a cpu.")
