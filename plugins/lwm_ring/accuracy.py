"""How far a ring is from float64, by its size: `python -m lwm_ring.accuracy [--length 1024] [--out FILE]`.

Owns that measurement, on simulated CPU devices: packed documents in zigzag order, root-mean-square differences of
the output and of every gradient from the definition in numpy float64. It judges nothing; a test does.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention import Visibility
from lwm_core.bench.report import facts
from lwm_core.layout import Zigzag
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, Inputs, inputs_of, oracle
from lwm_ring.ring import RingAttention


NAMES = ("out", "dq", "dk", "dv")


class Errors(NamedTuple):
    """Root-mean-square differences from float64 at one ring size."""

    dtype: str
    shards: int
    out: float
    dq: float
    dk: float
    dv: float


def measure(length: int, dtype: str, sizes: tuple[int, ...] = (1, 2, 4, 8)) -> list[Errors]:
    """Errors at every ring size, of the same numbers in the same order; needs as many devices as the largest."""
    rule = Visibility()
    case = AttentionCase("", rule, length, None, (4, 2), documents=5, tail=length // 16, dtype=dtype)
    inputs = _in_order(inputs_of(case, batch=1, dim=32), max(sizes))
    answer = oracle(inputs, rule)
    expected = answer.out, answer.dq, answer.dk, answer.dv
    found = []
    for shards in sizes:
        with jax.set_mesh(MeshSpec(sp=shards).make(jax.devices()[:shards])):
            got = _run(inputs, rule)
        rms = [float(np.sqrt(np.mean((x - want) ** 2))) for x, want in zip(got, expected, strict=True)]
        found.append(Errors(dtype, shards, *rms))
    return found


def _in_order(inputs: Inputs, shards: int) -> Inputs:
    order = Zigzag().permutation(inputs.q.shape[1], shards)
    position, segment = (x[:, order] for x in inputs.q_at)
    q, k, v, dout = (x[:, order] for x in inputs[:4])
    return Inputs(q, k, v, dout, (position, segment), (position, segment))


def _run(inputs: Inputs, rule: Visibility) -> list[np.ndarray]:
    q_at, kv_at = inputs.coords()

    @jax.jit
    def call(q, k, v, dout, q_at, kv_at):
        out, pull = jax.vjp(lambda *qkv: RingAttention()(*qkv, q_at=q_at, kv_at=kv_at, rule=rule), q, k, v)
        return out, *pull(dout)

    return [np.asarray(x, np.float64) for x in call(*map(jnp.asarray, inputs[:4]), q_at, kv_at)]


def table(found: list[Errors]) -> str:
    """Errors and, behind each, how many times those of one device they are."""
    lines = [f"{'dtype':9} {'ring':>4}  " + "  ".join(f"{name:>16}" for name in NAMES)]
    for errors in found:
        alone = next(e for e in found if (e.dtype, e.shards) == (errors.dtype, 1))
        cells = (f"{x:.2e} ({x / one:.3f})" for x, one in zip(errors[2:], alone[2:], strict=True))
        lines.append(f"{errors.dtype:9} {errors.shards:4}  " + "  ".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lwm_ring.accuracy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, default=1024, help="tokens of the row, a multiple of 16")
    parser.add_argument("--out", type=Path, help="also write the numbers here, as JSON")
    options = parser.parse_args()
    if options.length < 32 or options.length % 16:
        parser.error(f"--length {options.length} is no multiple of 16 from 32 on: use 1024.")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    found = [errors for dtype in ("float32", "bfloat16") for errors in measure(options.length, dtype)]
    print(table(found))
    if options.out is not None:
        run = facts(f"python -m lwm_ring.accuracy --length {options.length}", ())
        records = [errors._asdict() for errors in found]
        options.out.write_text(json.dumps({"run": run, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
