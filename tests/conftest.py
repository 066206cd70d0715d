"""How every test runs: eight simulated CPU devices, shapes checked, compilations kept between runs.

Owns the environment of the test process. Everything here happens before any package of ours is imported, or
the import hook could not rewrite it.
"""

import os
import sys
from pathlib import Path


os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

ROOT = Path(__file__).parents[1]
OURS = ("lwm_core", "lwm_registry", *sorted(path.name for path in (ROOT / "plugins").glob("lwm_*")))

early = sorted(name for name in sys.modules if name.partition(".")[0] in OURS)
if early:
    raise RuntimeError(f"{early[0]} was imported before the shape checker could be put in front of it.")

from jaxtyping import install_import_hook  # noqa: E402


install_import_hook(list(OURS), "beartype.beartype")
