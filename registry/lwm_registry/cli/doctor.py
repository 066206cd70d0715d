"""`lwm doctor`: what this machine has, and what is wrong. Every check stands alone, so that one failure hides
no other; parts are not imported.
"""

import importlib.metadata
import importlib.util
import platform
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table
from lwm_registry.cli.problems import FAILURE
from lwm_registry.errors import brief


PACKAGES = ("lwm-jax", "jax", "jaxlib", "equinox", "optax", "grain", "safetensors", "tokenizers")
EXTRAS = {
    "data": ("datasets", "fsspec", "pyarrow", "zstandard"),
    "video": ("av", "PIL"),
    "demo": ("av", "PIL", "matplotlib"),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Check Python, packages, devices, optional extras and plugins; exit code 1 when something is broken.

    Example: lwm doctor
    """
    findings = [*_packages(), _devices(), *_extras(), *_plugins()]
    if as_json:
        print_json(findings)
    else:
        rows = [(f["check"], f["state"], f["found"]) for f in findings]
        print_table(("check", "state", "found"), rows)
    if any(finding["state"] == "broken" for finding in findings):
        raise typer.Exit(FAILURE)


def _finding(check: str, state: str, found: str) -> dict[str, str]:
    return {"check": check, "state": state, "found": found}


def _packages() -> list[dict[str, Any]]:
    findings = [_finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        try:
            findings.append(_finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(_finding(name, "broken", "not installed: pip install lwm-jax"))
    return findings


def _devices() -> dict[str, Any]:
    try:
        import jax

        devices = jax.devices()
    except Exception as error:
        return _finding("devices", "broken", brief(error))
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    return _finding("devices", "ok", f"{len(devices)} x {devices[0].platform} ({kinds})")


def _extras() -> list[dict[str, Any]]:
    findings = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        note = f"without {', '.join(missing)}: pip install 'lwm-jax[{extra}]'" if missing else "installed"
        findings.append(_finding(f"extra {extra}", "absent" if missing else "ok", note))
    return findings


def _plugins() -> list[dict[str, Any]]:
    parts = catalog()
    good = [_finding(f"plugin {p.name}", "ok", f"{p.distribution} {p.version}") for p in parts.plugins if not p.error]
    broken = [_finding(f"{r.kind} {r.name}", "broken", f"{r.origin}: {r.error}") for r in parts.broken()]
    clashes = {
        (r.kind, r.name): [same.qualified for same in parts.named(r.kind, r.name)]
        for r in parts.list()
        if len(parts.named(r.kind, r.name)) > 1
    }
    note = "several offer it, so a recipe must write one of"
    clashing = [_finding(f"{k} {n}", "clash", f"{note} {', '.join(who)}") for (k, n), who in clashes.items()]
    return [*good, *broken, *clashing]
