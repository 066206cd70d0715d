"""`lwm bench SUBJECT`: measurements that anybody can repeat, one file per subject.

Owns the list of subjects. What each measures, and how it is shown, is its own file's; none of them judges.
"""

import typer

from lwm_registry.cli.bench.attention import attention
from lwm_registry.cli.bench.packing import packing
from lwm_registry.cli.bench.stream import stream
from lwm_registry.cli.bench.text import text
from lwm_registry.cli.bench.training import training


SUBJECTS = (attention, packing, text, stream, training)

app = typer.Typer(
    name="bench",
    help="Measure parts and their peers side by side.\n\nExample: lwm bench attention --case ring-4 --length 4096",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for subject in SUBJECTS:
    app.command()(subject)


@app.callback()
def together() -> None:
    """A callback keeps `lwm bench` a group of subjects even while there is one only."""
