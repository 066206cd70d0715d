"""Names for a refusal: which parts of the catalog would accept the call that one of them refused.

Owns the sentence that `lwm_core.attention.require` adds to its error, through the entry point of group `lwm.advice`.
Parts are asked as they are built by default; one that cannot be built here is left out.
"""

from collections.abc import Iterator
from typing import Any

from lwm_registry.catalog import Catalog
from lwm_registry.catalog import catalog as installed
from lwm_registry.errors import RegistryError, listed


def accepting(part: Any, site: Any, catalog: Catalog | None = None) -> str:
    """Which parts of the same kind accept the site, and with which other kernels the part itself would."""
    chosen = catalog or installed()
    kind = "attention" if isinstance(part, chosen.interface("attention")) else "kernel"
    names = [name for name, other in _built(chosen, kind) if _accepts(other, site)]
    kernels = []
    if hasattr(part, "kernel"):
        kernels = [name for name, kernel in _built(chosen, "kernel") if _accepts(_with_kernel(part, kernel), site)]
    said = [
        f"It would with the kernel {_either(kernels)}." if kernels else "",
        f"Every {kind} here that would: {listed(names)}." if names else f"No {kind} of the catalog would.",
    ]
    return " ".join(filter(None, said))


def _built(catalog: Catalog, kind: str) -> Iterator[tuple[str, Any]]:
    for name in catalog.names(kind):
        try:
            yield name, catalog.build(kind, name)
        except RegistryError:
            continue


def _accepts(part: Any, site: Any) -> bool:
    from lwm_core.attention import support_of

    return support_of(part, site).ok


def _with_kernel(part: Any, kernel: Any) -> Any:
    import equinox as eqx

    return eqx.tree_at(lambda p: p.kernel, part, kernel, is_leaf=lambda node: node is None)


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in sorted(names))
