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


import gc  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402


# Every compiled program takes maps of memory, and Linux gives a process 65,530: past them, loading one more crashes.
_MOST_MAPS = 20_000
_MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def _programs_are_let_go():
    """Drops compiled programs after a module that leaves many; the cache on disk gives back those still wanted."""
    yield
    if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()
