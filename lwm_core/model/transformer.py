"""The reference sequence model: embedding, a scanned stack of blocks, norm, head.

Owns the stack and how ids become states and states become scores. Families (Llama, ...) choose its sizes;
attention and rope are handed in and shared by all layers.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray

from lwm_core.attention.base import AbstractAttention, AttentionSite, require
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.mesh import constrain, gathered, logical, whole
from lwm_core.model.base import AbstractSequenceModel, Hidden
from lwm_core.model.block import Block
from lwm_core.model.cache import CacheDtype, KVCache, LayerCache
from lwm_core.model.flops import forward_flops
from lwm_core.model.norm import RMSNorm
from lwm_core.model.remat import LAYER_INPUT, Remat, remat
from lwm_core.model.rope import AbstractRope


class Transformer(AbstractSequenceModel):
    """A stack of N equal blocks; every leaf of `blocks` has a leading axis N.

    - `head` is None when the embedding is also the head (tied);
    - `dtype`: what activations and products are computed in; weights, statistics and scores stay float32;
    - `remat`: a policy of `lwm_core.model.remat`.
    """

    embed: Float[Array, "V E"] = eqx.field(metadata=logical("vocab", "embed"))
    blocks: Block
    norm: RMSNorm
    head: Float[Array, "E V"] | None = eqx.field(metadata=logical("embed", "vocab"))
    attention: AbstractAttention
    rope: AbstractRope
    dtype: str = eqx.field(static=True, default="float32")
    remat: Remat = eqx.field(static=True, default="block")

    @property
    def vocab_size(self) -> int:
        return self.embed.shape[0]

    def hidden(
        self,
        tokens: Int32[Array, "B T"],
        at: TokenCoords,
        rule: Visibility = Visibility(),
        *,
        cache: KVCache | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Hidden:
        embed = whole(self.embed, "vocab", "embed", dtype=self.dtype)
        x = constrain(embed.astype(self.dtype)[tokens], "batch", "tokens", None)
        if cache is not None:
            cache = cache.placed(at)
        # What is visible is summed up here, once for all layers and for their gradients.
        at = at.with_extents()
        kv_at = at if cache is None else cache.at.with_extents()
        self._require(x, kv_at, rule)

        def layer(carry, now):
            (x, held), (block, number) = carry, now
            stored = None if held is None else LayerCache(held[0], held[1], number)
            used = None if cache is None else cache.used
            x = checkpoint_name(x, LAYER_INPUT)
            block = gathered(block, self.dtype)
            x, stored = block(x, self.attention, self.rope, at, kv_at, rule, stored, used)
            return (x, None if stored is None else (stored.k, stored.v)), None

        held = None if cache is None else (cache.k, cache.v)
        numbers = jnp.arange(self.blocks.q.shape[0], dtype=jnp.int32)
        (x, held), _ = jax.lax.scan(remat(layer, self.remat), (x, held), (self.blocks, numbers))
        if cache is None or held is None:
            return Hidden(self.norm(x), None)
        cache = cache.grown(*held, tokens.shape[1])
        return Hidden(cache.trusted(self.norm(x)), cache)

    def logits(self, states: Float[Array, "*n E"]) -> Float32[Array, "*n V"]:
        head = self.embed.T if self.head is None else self.head
        head = whole(head, "embed", "vocab", dtype=self.dtype)
        return jnp.matmul(states, head.astype(states.dtype), preferred_element_type=jnp.float32)

    def flops(self, tokens: int, pairs: int) -> float:
        """Operations of a forward pass, see `lwm_core.model.flops`: all matrices of the blocks, and the head."""
        block = self.blocks
        matrices = (block.q, block.k, block.v, block.out, block.ffn.gate, block.ffn.up, block.ffn.down)
        layers, _, heads, dim = block.q.shape
        weights = sum(math.prod(matrix.shape) for matrix in matrices) + math.prod(self.embed.shape)
        return forward_flops(weights, tokens, layers=layers, heads=heads, head_dim=dim, pairs=pairs)

    def empty_cache(self, batch: int, length: int, dtype: CacheDtype | None = None) -> KVCache:
        layers, _, heads, dim = self.blocks.k.shape
        return KVCache.empty(layers, batch, length, heads, dim, self.dtype if dtype is None else dtype)

    def resized(self, vocab_size: int, *, key: PRNGKeyArray) -> "Transformer":
        extra = vocab_size - self.vocab_size
        if extra < 0:
            raise ValueError(f"Cannot shrink {self.vocab_size} ids to {vocab_size}: ids keep their meaning.")
        # New rows start like the old ones in scale, so that neither side of the softmax drowns the other.
        first, second = jax.random.split(key)
        rows = jax.random.normal(first, (extra, self.embed.shape[1])) * jnp.std(self.embed)
        embed = jnp.concatenate([self.embed, rows.astype(self.embed.dtype)])
        head = self.head
        if head is not None:
            columns = jax.random.normal(second, (head.shape[0], extra)) * jnp.std(head)
            head = jnp.concatenate([head, columns.astype(head.dtype)], axis=1)
        where = lambda m: (m.embed, m.head)  # noqa: E731
        return eqx.tree_at(where, self, (embed, head), is_leaf=lambda leaf: leaf is None)

    def _require(self, x: Array, kv_at: TokenCoords, rule: Visibility) -> None:
        """Refuses before tracing the stack, with the attention's own sentence."""
        _, _, heads, dim = self.blocks.q.shape
        batch, length, _ = x.shape
        q = jax.ShapeDtypeStruct((batch, length, heads, dim), x.dtype)
        k = jax.ShapeDtypeStruct((batch, kv_at.position.shape[1], self.blocks.k.shape[2], dim), x.dtype)
        require(self.attention, AttentionSite.of(q, k, rule))
