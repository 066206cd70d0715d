"""The Hopper kernels compiled for an H100 without one: registers, spills and instructions of each.

    python -m venv gpu && gpu/bin/pip install -e . 'jax-cuda13-plugin[with-cuda]'
    gpu/bin/python benchmarks/gpu_compile.py        # writes benchmarks/results/gpu-compile.json

JAX's CUDA plugin compiles for a described card where there is none (Mosaic, LLVM, ptxas for sm_90a), which is all that
a machine without a GPU can know of speed. Needs libdevice and, for it, `--cuda` with CUDA's folder.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any


_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_LENGTH, _HEADS, _GROUPS = 4096, 16, 4
_SERIAL = "wgmma.mma_async instructions are serialized"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu-compile.json")
    parser.add_argument("--cuda", default="/usr/local/cuda", help="CUDA's folder, for libdevice")
    parser.add_argument("--heads", type=int, nargs="*", default=[64, 128, 256], help="head sizes")
    options = parser.parse_args()
    dump = Path(tempfile.mkdtemp())
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": f"--xla_gpu_cuda_data_dir={options.cuda}",
        "MOSAIC_GPU_DUMP_TO": str(dump),
        "MOSAIC_GPU_DUMP_PTX": "1",
        "MOSAIC_GPU_DUMP_PTXAS": "1",
    }
    kernels = [record for head in options.heads for record in _compiled(head, dump)]
    packages = "jax", "jaxlib", "jax-cuda13-plugin"
    run = {
        "command": "python benchmarks/gpu_compile.py",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "target": "NVIDIA H100, sm_90a, described and not present",
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "shape": f"{_LENGTH} tokens, {_HEADS} query heads over {_GROUPS}, bfloat16, causal with a window",
    }
    options.out.write_text(json.dumps({"run": run, "kernels": kernels}, indent=1) + "\n", "utf-8")
    print(*kernels, sep="\n")


def _compiled(head: int, dump: Path) -> list[dict[str, Any]]:
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import NamedSharding, PartitionSpec

    from lwm_core.attention import TokenCoords, Visibility
    from lwm_pallas.gpu.kernel import HopperKernel

    topology = topologies.get_topology_desc("", platform="cuda", target_config=_H100, topology="1x1x1")
    here = NamedSharding(topologies.make_mesh(topology, (1,), ("x",)), PartitionSpec())

    def given(*shape: int, dtype="bfloat16"):
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=here)

    q, k = given(1, _LENGTH, _HEADS, head), given(1, _LENGTH, _GROUPS, head)
    stat = given(1, _HEADS, _LENGTH, dtype="float32")
    at = TokenCoords(given(1, _LENGTH, dtype="int32"), given(1, _LENGTH, dtype="int32"))
    kernel, rule = HopperKernel(), Visibility(window=_LENGTH // 4)
    found = []
    for function, arguments in (
        (lambda q, k, v, at: kernel.forward(q, k, v, at, at, rule), (q, k, k, at)),
        (lambda q, k, v, at, *more: kernel.backward(q, k, v, at, at, rule, *more), (q, k, k, at, stat, stat, q)),
    ):
        begun = time.monotonic()
        jax.jit(function).trace(*arguments).lower().compile()
        for path in sorted(dump.glob("*.ptxas")):
            found.append({"head_dim": head, **_read(path), "seconds": round(time.monotonic() - begun, 1)})
        for path in dump.iterdir():
            path.unlink()
    return found


def _read(path: Path) -> dict[str, Any]:
    """What ptxas said of one kernel, and how many tensor-core instructions its PTX holds."""
    said, ptx = path.read_text(), path.with_suffix(".ptx").read_text()
    stores, loads = (int(re.search(rf"(\d+) bytes spill {what}", said)[1]) for what in ("stores", "loads"))  # type: ignore[index]
    return {
        "kernel": re.sub(r"_\d+$", "", path.stem),
        "spilled_bytes_stored": stores,
        "spilled_bytes_loaded": loads,
        "wgmma_instructions": len(re.findall(r"wgmma\.mma_async", ptx)),
        "wgmma_serialised": _SERIAL in said,
    }


if __name__ == "__main__":
    main()
