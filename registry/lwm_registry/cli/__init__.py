"""The command line: one file per command, heavy imports inside the commands.

Owns the list of commands and what happens to an error: one clear message on standard error and no traceback,
exit code 2 for bad input and 1 for a failure. `LWM_TRACEBACK=1` shows the traceback.
"""

import os
import sys

import typer

from lwm_registry.cli import bench
from lwm_registry.cli.ablate import ablate
from lwm_registry.cli.chat import chat
from lwm_registry.cli.demo import demo
from lwm_registry.cli.describe import describe
from lwm_registry.cli.doctor import doctor
from lwm_registry.cli.evaluate import evaluate
from lwm_registry.cli.generate import generate
from lwm_registry.cli.ingest import ingest
from lwm_registry.cli.plan import plan
from lwm_registry.cli.plugins import plugins
from lwm_registry.cli.problems import told
from lwm_registry.cli.resume import resume
from lwm_registry.cli.sample import sample
from lwm_registry.cli.synthesise import synthesise
from lwm_registry.cli.train import train
from lwm_registry.cli.validate import validate


COMMANDS = (
    plugins, doctor, describe, ingest, validate, train, resume, sample, generate, chat, evaluate, synthesise, ablate,
    plan, demo,
)  # fmt: skip

app = typer.Typer(
    name="lwm",
    help="World models of a million tokens, made of parts that are swapped by name.",
    epilog="Start with `lwm doctor`, then `lwm train tiny-text --out runs/first`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(bench.app)


def main() -> None:
    """The entry point of `lwm`; ends the process."""
    try:
        app(prog_name="lwm")
    except Exception as error:
        if os.environ.get("LWM_TRACEBACK") == "1":
            raise
        text, code = told(error)
        print(f"lwm: {text}", file=sys.stderr)
        sys.exit(code)
