"""A training step of a Llama beside Hugging Face transformers': same shape, same weights, same tokens, same optimiser.

Owns both steps and their race. Both run forward, backward, clipping and AdamW in float32 and hand their loss to the
host; PyTorch computes attention by its fused kernel (SDPA). Equal losses at the first step show that it is the same
work. Rounds are interleaved, so that a noisy machine is noisy for both.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import TokenCoords
from lwm_core.curriculum import Stage
from lwm_core.mesh import placed
from lwm_core.model import AbstractModelFamily, Transformer
from lwm_core.objective import Batch, CrossEntropy
from lwm_core.train.optimizer import AdamW
from lwm_core.train.step import init_state, make_step
from lwm_core.vocab import Modality, Vocabulary


RATE = 1e-4
CLOSE = 1e-4  # of the losses of the first steps: float32, in another order of sums


@dataclass(frozen=True)
class TrainingCase:
    """Sizes of a Llama and of its batch."""

    width: int = 512
    layers: int = 6
    heads: int = 8
    kv_heads: int = 8
    ffn: int = 1376
    vocab: int = 8192
    length: int = 2048
    rows: int = 1

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    def batch(self) -> np.ndarray:
        """The ids of every step; there is no pattern to learn and none is needed."""
        return np.random.default_rng(0).integers(0, self.vocab, (self.rows, self.length)).astype(np.int32)


def race(case: TrainingCase, family: AbstractModelFamily, rounds: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of `rounds` steps each, in turn, and the first losses; raises `ValueError` where these differ.

    - `family`: of the sizes of the case.
    """
    model = family.init(key=jax.random.key(0))
    if not isinstance(model, Transformer):
        raise ValueError(
            f"{type(family).__name__} makes a {type(model).__name__}: give a family of Llama's architecture."
        )
    # PyTorch gets a copy before our step consumes the arrays.
    steps = {"transformers": _theirs(case, model), "ours": _ours(case, model)}
    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}  # the first compiles
    if not np.allclose(losses["ours"], losses["transformers"], rtol=CLOSE):
        raise ValueError(f"The two do not train the same model: losses {losses}.")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        for name in sorted(steps, reverse=bool(turn % 2)):
            start = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - start)
        told(
            f"round {turn + 1} of {rounds}: "
            + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items())
        )
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "case": asdict(case),
        "seconds": seconds,
        "tokens_per_second": {name: case.tokens / median for name, median in medians.items()},
        "speed_over_transformers": medians["transformers"] / medians["ours"],
        "first_losses": losses,
    }


def _ours(case: TrainingCase, model: Transformer) -> Callable[[], float]:
    optimizer = AdamW().build(Stage("bench", case.length, 1e4, case.rows, 1000, RATE))
    step = make_step(CrossEntropy(), optimizer, Vocabulary((Modality("text", case.vocab, {}),)))
    ids = jnp.asarray(case.batch())
    at = TokenCoords.of_rows(case.rows, case.length)
    weights = jnp.ones(ids.shape, jnp.float32).at[:, -1].set(0)
    batch = Batch(ids, at, jnp.roll(ids, -1, axis=1), weights)
    held = [placed(init_state(model, optimizer), None)]

    def once() -> float:
        held[0], metrics = step(held[0], batch)
        return float(metrics["loss"])

    return once


def _theirs(case: TrainingCase, model: Transformer) -> Callable[[], float]:
    # Its threads otherwise spin on after their work is done, on the cores of whoever is measured next.
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import LlamaConfig, LlamaForCausalLM  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = LlamaConfig(
        vocab_size=case.vocab, hidden_size=case.width, intermediate_size=case.ffn, num_hidden_layers=case.layers,
        num_attention_heads=case.heads, num_key_value_heads=case.kv_heads, max_position_embeddings=case.length,
        rms_norm_eps=model.norm.eps, tie_word_embeddings=False, attn_implementation="sdpa", use_cache=False,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope.theta},
    )  # fmt: skip
    theirs = LlamaForCausalLM(config).train()
    found = theirs.load_state_dict({name: torch.from_numpy(x) for name, x in _named(model).items()}, strict=True)
    assert not found.missing_keys and not found.unexpected_keys
    optimizer = torch.optim.AdamW(
        theirs.parameters(), lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True
    )
    ids = torch.from_numpy(case.batch()).long()
    turn = [0]

    def once() -> float:
        loss = theirs(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:  # our warm-up begins at 0 and ends after one step
            group["lr"] = RATE if turn[0] else 0.0
        turn[0] += 1
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return once


def _named(model: Transformer) -> dict[str, np.ndarray]:
    """The weights by transformers' names: matrices transposed, heads side by side."""
    blocks = jax.tree.map(np.array, model.blocks)
    assert model.head is not None
    found = {
        "model.embed_tokens.weight": np.array(model.embed),
        "model.norm.weight": np.array(model.norm.weight),
        "lm_head.weight": np.array(model.head).T.copy(),
    }
    width = model.embed.shape[1]
    for n in range(blocks.q.shape[0]):
        matrices = {
            "self_attn.q_proj": blocks.q[n].reshape(width, -1),
            "self_attn.k_proj": blocks.k[n].reshape(width, -1),
            "self_attn.v_proj": blocks.v[n].reshape(width, -1),
            "self_attn.o_proj": blocks.out[n].reshape(-1, width),
            "mlp.gate_proj": blocks.ffn.gate[n],
            "mlp.up_proj": blocks.ffn.up[n],
            "mlp.down_proj": blocks.ffn.down[n],
        }
        norms = {
            "input_layernorm": blocks.attention_norm.weight[n],
            "post_attention_layernorm": blocks.ffn_norm.weight[n],
        }
        found |= {f"model.layers.{n}.{name}.weight": matrix.T.copy() for name, matrix in matrices.items()}
        found |= {f"model.layers.{n}.{name}.weight": np.array(norm) for name, norm in norms.items()}
    return found
