"""What several commands share: dotted overrides, opening a run, printing JSON and tables. Owns no command."""

import contextlib
import json
import sys
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwm_registry.errors import RegistryError, RunDiffers


if TYPE_CHECKING:
    import lwm_core.pipeline


def overrides_of(given: Iterable[str]) -> dict[str, Any]:
    """`["attention.use=ring", "seed=3"]` as dotted overrides; values are TOML, and bare words are text."""
    overrides = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RegistryError(f"The override {text!r} is not key=value: write it as attention.use=ring or seed=3.")
        overrides[key.strip()] = _typed(value.strip())
    return overrides


def _typed(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


CpuDevices = Annotated[
    int | None, typer.Option("--cpu-devices", min=1, help="Simulate this many devices where there is no accelerator.")
]


def simulate(devices: int | None) -> None:
    """Splits the CPU into this many devices, before any is touched; accelerators stay as they are."""
    if devices is not None:
        import jax

        jax.config.update("jax_num_cpu_devices", devices)


def opened(run: Path, overrides: Iterable[str]) -> "lwm_core.pipeline.Pipeline":
    """The pipeline of a run; a difference in versions is one line on standard error."""
    from lwm_registry.runs import load

    with noted():
        return load(run, overrides_of(overrides))


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Says on standard error, in a line, what parts of a run differ from those that made it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunDiffers)
        yield
    for warning in caught:
        if issubclass(warning.category, RunDiffers):
            print(f"lwm: note: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def steps_of(until: str | None) -> int | None:
    """`--until` of a run that has steps and no stages."""
    if until is None or (until.isdecimal() and int(until) > 0):
        return None if until is None else int(until)
    raise RegistryError(f"--until {until}: this recipe has a [trainer] and no stages: give a number of steps.")


def print_json(value: Any) -> None:
    """The value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A table on standard output; in a pipe or a file, wide enough for every cell."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console = Console()
    console.print(table) if console.is_terminal else Console(width=1000).print(table)
