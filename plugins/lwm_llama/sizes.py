"""The named sizes: LWM's table (LargeWorldModel/LWM, `lwm/llama.py`, confirmed) and the demo's own.

Data only. Anything here can be overridden option by option in `LlamaFamily`.
"""

from typing import NamedTuple


class Size(NamedTuple):
    """Sizes of one Llama: width, layers, query heads, key/value heads, feed-forward width, norm epsilon."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    norm_eps: float = 1e-6


SIZES = {
    "debug": Size(256, 2, 2, 2, 256),
    "200m": Size(1024, 14, 8, 8, 2048),
    "1b": Size(2048, 22, 16, 16, 5504),
    "3b": Size(3200, 26, 32, 32, 8640),
    "7b": Size(4096, 32, 32, 32, 11008),
    "13b": Size(5120, 40, 40, 40, 13824),
    "30b": Size(6656, 60, 52, 52, 17920),
    "65b": Size(8192, 80, 64, 64, 22016, 1e-5),
}
