"""The Llama family: a named size, options that override it, and the reference transformer that it makes.

Text and vision-text alike: LWM's two tables and two heads lie side by side in one id space, so vision needs no
second class, only a larger `vocab_size`.
"""

from typing import Literal

import equinox as eqx
from jaxtyping import PRNGKeyArray

from lwm_core.attention import AbstractAttention, LocalAttention
from lwm_core.model import AbstractModelFamily, AbstractRope, Remat, Rotary, Transformer, TransformerFamily
from lwm_llama.sizes import SIZES, Size


class LlamaFamily(AbstractModelFamily):
    """Llama-2 (Touvron et al. 2023): RMS norm before each part, rotary positions, SwiGLU, no biases.

    - `size`: a name of LWM's table, "debug" to "65b";
    - `width`, `layers`, `heads`, `kv_heads`, `ffn`, `norm_eps`: override the size; fewer `kv_heads` than heads is
      grouped-query attention;
    - the rest as in `TransformerFamily`.
    """

    attention: AbstractAttention = eqx.field(default_factory=LocalAttention)
    rope: AbstractRope = eqx.field(default_factory=Rotary)
    vocab_size: int = eqx.field(static=True, default=32_000)
    size: str = eqx.field(static=True, default="debug")
    width: int | None = eqx.field(static=True, default=None)
    layers: int | None = eqx.field(static=True, default=None)
    heads: int | None = eqx.field(static=True, default=None)
    kv_heads: int | None = eqx.field(static=True, default=None)
    ffn: int | None = eqx.field(static=True, default=None)
    norm_eps: float | None = eqx.field(static=True, default=None)
    tied: bool = eqx.field(static=True, default=False)
    init_std: float | Literal["fan-in"] = eqx.field(static=True, default=0.02)
    embed_std: float = eqx.field(static=True, default=0.02)
    out_scale: float | None = eqx.field(static=True, default=None)
    dtype: Literal["float32", "bfloat16"] = eqx.field(static=True, default="float32")
    remat: Remat = eqx.field(static=True, default="block")
    ffn_chunk: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.size not in SIZES:
            raise ValueError(f"No Llama size {self.size!r}: choose one of {', '.join(SIZES)}.")

    @property
    def sizes(self) -> Size:
        """The named size with this family's overrides."""
        named = SIZES[self.size]
        if self.heads is not None and self.kv_heads is None:
            named = named._replace(kv_heads=self.heads)
        chosen = {field: getattr(self, field) for field in Size._fields}
        return named._replace(**{field: value for field, value in chosen.items() if value is not None})

    def init(self, *, key: PRNGKeyArray) -> Transformer:
        return TransformerFamily(
            attention=self.attention,
            rope=self.rope,
            vocab_size=self.vocab_size,
            tied=self.tied,
            init_std=self.init_std,
            embed_std=self.embed_std,
            out_scale=self.out_scale,
            dtype=self.dtype,
            remat=self.remat,
            ffn_chunk=self.ffn_chunk,
            **self.sizes._asdict(),
        ).init(key=key)
