"""The reference family: a decoder-only transformer with every size given by hand.

Families with named sizes (lwm_llama) build on `build`; this one is what tests and small programs use.
"""

from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from lwm_core.attention.base import AbstractAttention
from lwm_core.attention.local import LocalAttention
from lwm_core.model.base import AbstractModelFamily
from lwm_core.model.block import init_block
from lwm_core.model.norm import RMSNorm
from lwm_core.model.remat import Remat
from lwm_core.model.rope import AbstractRope, Rotary
from lwm_core.model.transformer import Transformer


class TransformerFamily(AbstractModelFamily):
    """A pre-norm transformer with rotary positions, SwiGLU and grouped query heads.

    - `width`, `layers`, `heads`, `kv_heads`, `ffn`: sizes; a head has `width // heads` numbers;
    - `tied`: the embedding is also the head;
    - `init_std`: of fresh weights, "fan-in" for 1/sqrt(fan-in); `embed_std`: of the embedding; `out_scale`: factor on
      the matrices that write to the residual stream, None for 1/sqrt(2 · layers);
    - `dtype`: of activations; `remat`, `ffn_chunk`: memory for time.
    """

    attention: AbstractAttention = eqx.field(default_factory=LocalAttention)
    rope: AbstractRope = eqx.field(default_factory=Rotary)
    vocab_size: int = eqx.field(static=True, default=32_000)
    width: int = eqx.field(static=True, default=128)
    layers: int = eqx.field(static=True, default=2)
    heads: int = eqx.field(static=True, default=4)
    kv_heads: int = eqx.field(static=True, default=4)
    ffn: int = eqx.field(static=True, default=256)
    norm_eps: float = eqx.field(static=True, default=1e-6)
    tied: bool = eqx.field(static=True, default=False)
    init_std: float | Literal["fan-in"] = eqx.field(static=True, default=0.02)
    embed_std: float = eqx.field(static=True, default=0.02)
    out_scale: float | None = eqx.field(static=True, default=None)
    dtype: Literal["float32", "bfloat16"] = eqx.field(static=True, default="float32")
    remat: Remat = eqx.field(static=True, default="block")
    ffn_chunk: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} over {self.heads} heads: each head needs an even number of channels.")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide by {self.kv_heads} kv_heads.")

    def init(self, *, key: PRNGKeyArray) -> Transformer:
        embed_key, head_key, block_key = jax.random.split(key, 3)
        sizes = (self.width, self.heads, self.kv_heads, self.width // self.heads, self.ffn)
        out_scale = (2 * self.layers) ** -0.5 if self.out_scale is None else self.out_scale
        block = partial(
            init_block, sizes, std=self.init_std, out_scale=out_scale, eps=self.norm_eps, ffn_chunk=self.ffn_chunk
        )
        head = None
        if not self.tied:
            head_std = self.width**-0.5 if self.init_std == "fan-in" else self.init_std
            head = head_std * jax.random.normal(head_key, (self.width, self.vocab_size))
        return Transformer(
            embed=self.embed_std * jax.random.normal(embed_key, (self.vocab_size, self.width)),
            blocks=eqx.filter_vmap(lambda key: block(key=key))(jax.random.split(block_key, self.layers)),
            norm=RMSNorm(jnp.ones(self.width), self.norm_eps),
            head=head,
            attention=self.attention,
            rope=self.rope,
            dtype=self.dtype,
            remat=self.remat,
        )
