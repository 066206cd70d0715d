"""`lwm train`: a recipe to a run. The work is `Pipeline.train`'s, or that of the recipe's own trainer."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import CpuDevices, overrides_of, simulate, steps_of
from lwm_registry.cli.problems import INTERRUPTED
from lwm_registry.cli.stopping import stoppable
from lwm_registry.cli.together import Coordinator, Distributed, Process, Processes, Timeout, alone, together


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml file.")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Stop after this stage; with a [trainer], after this many steps.")
    ] = None,
    cpu_devices: CpuDevices = None,
    distributed: Distributed = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    timeout: Timeout = 300.0,
) -> None:
    """Train through a recipe's stages into a folder; an override is a dotted key and a TOML value.

    A recipe with a [trainer] trains something else, such as a vision tokenizer: `lwm train vqgan`.

    Example: lwm train tiny-text --out runs/first attention.use=ring seed=3
    """
    from lwm_registry.recipes import read
    from lwm_registry.trainers import has_trainer

    given = overrides_of(overrides or ())
    tables = read(recipe, catalog(), given)
    try:
        if has_trainer(tables):
            simulate(cpu_devices)
            alone(coordinator, distributed)
            _by_its_trainer(recipe, given, out, until)
            return
        with together(distributed, coordinator, processes, process, timeout, cpu_devices) as first:
            _through_its_stages(recipe, tables, given, out, until)
    except KeyboardInterrupt:
        print(f"lwm: stopped. `lwm resume {out}` goes on from the newest checkpoint.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if first:
        print(f"{out} is trained. `lwm sample {out} 'Once'` writes with it, `lwm evaluate {out}` measures it.")


def _through_its_stages(recipe: str, tables: Any, given: Mapping[str, Any], out: Path, until: str | None) -> None:
    from lwm_registry.lacking import check_whole
    from lwm_registry.pipelines import compose

    check_whole(recipe, tables, catalog(), until)
    pipeline = compose(recipe, given)
    with stoppable(out) as stop:
        pipeline.train(out, until=until, stop=stop)


def _by_its_trainer(recipe: str, given: Mapping[str, Any], out: Path, until: str | None) -> None:
    from lwm_registry.trainers import trainer_of

    steps = steps_of(until)
    made = trainer_of(recipe, given)
    made.write(out)
    print(made.trainer.train(out, until=steps))
