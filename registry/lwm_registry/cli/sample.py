"""`lwm sample`: text that a run's model writes. The work is `Pipeline.sample`'s."""

from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import opened, print_json


def sample(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to go on from.")],
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="At most so many tokens.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler.")] = 0,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list of prompts and texts as JSON.")] = False,
) -> None:
    """Continue each prompt with the run's newest weights.

    Example: lwm sample runs/first "Call me" --tokens 32 --set sampler.use=greedy
    """
    pipeline = opened(run, overrides or ())
    texts = [{"prompt": p, "text": pipeline.sample(p, tokens=tokens, seed=seed)} for p in prompts]
    if as_json:
        print_json(texts)
        return
    for line in texts:
        print(line["prompt"] + line["text"])
