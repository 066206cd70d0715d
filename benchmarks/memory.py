"""How the memory of a training step grows with the length of a row, measured on this machine.

    python benchmarks/memory.py            # writes benchmarks/results/memory.json; ten minutes on one core

Owns the measurement. Each length is a process of its own that trains two real steps; its resident memory at most, less
what it held before the first step was compiled, stands beside the bytes that XLA says the program takes. Lengths that
no CPU can run are compiled instead (`benchmarks/plans.py`, cases "length").
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path


RESULTS = Path(__file__).parent / "results"
LENGTHS = tuple(2**n for n in range(12, 17))


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a training step by length.")
    parser.add_argument("--length", type=int, help="measure one length, in this process, and print it as JSON")
    asked = parser.parse_args()
    if asked.length:
        print(json.dumps(measured(asked.length)))
        return
    found = []
    for length in LENGTHS:
        command = [sys.executable, __file__, "--length", str(length)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(found[-1], flush=True)
    times = LENGTHS[-1] / LENGTHS[0]
    growth = {key: found[-1][key] / found[0][key] / times for key in ("program_bytes", "resident_bytes")}
    record = {"command": "python benchmarks/memory.py", "machine": platform.machine(), "lengths": found,
              "growth_over_linear": growth}  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"growth over that of the length, 1 is linear: {growth}")


def measured(length: int) -> dict[str, int]:
    """Bytes of two steps on one row of one document."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from lwm_core.attention import TokenCoords
    from lwm_core.curriculum import Stage
    from lwm_core.mesh import outlined, placed
    from lwm_core.model import TransformerFamily
    from lwm_core.objective import Batch, CrossEntropy
    from lwm_core.train.optimizer import AdamW
    from lwm_core.train.step import init_state, make_step
    from lwm_core.vocab import Modality, Vocabulary

    family = TransformerFamily(
        vocab_size=1024, width=256, layers=2, heads=4, kv_heads=4, ffn=704, remat="attention", ffn_chunk=1024
    )
    optimizer = AdamW().build(Stage("memory", length, 1e6, 1, 10, 1e-4))
    state = placed(init_state(family.init(key=jax.random.key(0)), optimizer), None)
    ids = jnp.ones((1, length), jnp.int32)
    batch = Batch(ids, TokenCoords.of_rows(1, length), ids, jnp.ones((1, length)))
    step = make_step(CrossEntropy(chunk=1024), optimizer, Vocabulary((Modality("text", 1024, {}),)))
    outline = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    program = step.lowered(outlined(state, None), outline).compile().memory_analysis()
    before = _resident()
    for _ in range(2):
        state, metrics = step(state, batch)
    jax.block_until_ready(eqx.filter(state, eqx.is_array))
    return {"length": length, "program_bytes": program.temp_size_in_bytes, "resident_bytes": _resident() - before}


def _resident() -> int:
    """The most that this process has held, in bytes; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
