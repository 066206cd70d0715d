"""`python -m lwm_registry.conformance PLUGIN [pytest options]`: does this plugin keep every contract?

Runs on eight simulated CPU devices unless JAX_PLATFORMS or XLA_FLAGS say otherwise. `all` is every plugin.
Needs pytest.
"""

import os
import sys
from pathlib import Path


def main() -> int:
    """The exit code of pytest: 0 when every check passes."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("usage: python -m lwm_registry.conformance PLUGIN [pytest options]", file=sys.stderr)
        return 2
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    os.environ["LWM_CONFORMANCE"] = sys.argv[1]
    import pytest

    from lwm_registry.errors import RegistryError
    from lwm_registry.testing import records_of

    try:
        records_of(None if sys.argv[1] == "all" else sys.argv[1])
    except RegistryError as error:
        print(f"lwm_registry.conformance: {error}", file=sys.stderr)
        return 2
    tests = Path(__file__).with_name("test_components.py")
    return int(pytest.main([str(tests), "-c", os.devnull, "-p", "no:cacheprovider", *sys.argv[2:]]))


sys.exit(main())
