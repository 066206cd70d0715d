"""Memory does not grow with the tokens that have passed; `lwm bench stream` measures a billion."""

import pytest

from lwm_core.bench.soak import MadeUp, soak
from lwm_core.data import ApartPacker, BestFitPacker


@pytest.mark.slow
def test_twenty_million_tokens_leave_memory_as_it_was():
    sources = {"web": MadeUp(median=1000), "books": MadeUp(count=200, median=60_000, spread=0.5)}
    packer = ApartPacker(32_768, BestFitPacker(32_768, 8))
    found = soak(packer, 20_000_000, 1_000_000, sources, {"web": 0.7, "books": 0.3})
    assert found["tokens"] >= 20_000_000 and len(found["samples"]) == 20
    assert found["resident_bytes_most"] < 1.1 * found["resident_bytes_after_a_tenth"]
