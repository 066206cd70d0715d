"""`lwm ingest`: a folder of pictures and videos to shards of codes. The work is the plugin's behind source `shards`.

Owns how the tokenizer is named, the progress, and what is said at the end.
"""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import overrides_of, print_json
from lwm_registry.cli.problems import FAILURE, INTERRUPTED
from lwm_registry.errors import RegistryError


EVERY = 5.0  # seconds between two lines of progress where there is no terminal


def ingest(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of pictures and videos.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of shards to write, or to go on with.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the tokenizer: size=small.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="A vision_tokenizer: its name, {...} as JSON, or a .toml or .json file.")
    ] = "vqgan",
    weights: Annotated[Path | None, typer.Option("--weights", help="The tokenizer's weights.")] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames a second of film; 1 if nothing is said.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", help="This many frames, evenly over each film.")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Pixels of the short side; the tokenizer's own.")] = None,
    longest: Annotated[int, typer.Option("--longest", help="Frames of one record; a longer film has several.")] = 4096,
    on_error: Annotated[str, typer.Option("--on-error", help="fail at the first bad file, or skip it.")] = "fail",
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help='JSON lines {"file": ..., "text": ...} instead of a walk.')
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Where codes are kept, also for other runs.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray: workers of a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option("--ray-address", help="HOST:PORT of a cluster; else one of this machine is made.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="With --engine ray: one for each GPU, or core, if nothing is said.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Encode pictures and videos with their captions; killed and started again, it goes on, to the same bytes.

    Example: lwm ingest films --out shards --weights assets/vqgan/small.safetensors size=small
    """
    work: Any = catalog().target(catalog().find("source", "shards"))
    if fps is not None and frames is not None:
        raise RegistryError(f"Both --fps {fps:g} and --frames {frames} are given: give one.")
    fps = 1.0 if fps is None and frames is None else fps
    part = _tokenizer(tokenizer, overrides or [], weights)
    try:
        with _progress() as watch:
            options = {"fps": fps, "frames": frames, "size": size, "longest": longest}
            where = {"engine": engine, "address": address, "workers": workers}
            how = {"on_error": on_error, "manifest": manifest, "cache": cache, "watch": watch}
            counts = work.ingest(folder, out, part, options, **how, **where)
    except KeyboardInterrupt:
        print(f"lwm: stopped. The same command goes on with {out}.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print_json(counts) if as_json else _print(counts)
    if not counts["records"]:
        raise typer.Exit(FAILURE)


def _tokenizer(given: str, overrides: list[str], weights: Path | None) -> Any:
    """The tokenizer with its weights; one that is all chance is refused."""
    import equinox as eqx
    import jax

    spec = {**_spec(given), **overrides_of(overrides)}
    named = spec.pop("weights", None)
    weights = weights or (None if named is None else Path(named))
    family = catalog().build("vision_tokenizer", spec)
    if weights is not None:
        return family.restore(weights)
    outline = eqx.filter_eval_shape(family.init, key=jax.random.key(0))  # no network is made only to be refused
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(outline)):
        raise RegistryError(
            f"The tokenizer {spec['use']!r} has no weights yet, so its codes say nothing: add --weights."
        )
    return family.init(key=jax.random.key(0))


def _spec(given: str) -> dict[str, Any]:
    try:
        if given.lstrip().startswith("{"):
            spec = json.loads(given)
        elif given.endswith((".toml", ".json")):
            text = Path(given).read_text("utf-8")
            spec = tomllib.loads(text) if given.endswith(".toml") else json.loads(text)
        else:
            return {"use": given}
    except (ValueError, OSError) as error:
        raise RegistryError(f"--tokenizer {given}: cannot be read ({error}).") from error
    if not isinstance(spec, dict) or not isinstance(spec.get("use"), str):
        raise RegistryError(f'--tokenizer {given}: it names no tokenizer: write {{"use": "vqgan", "size": "small"}}.')
    return spec


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """What hears how far it is, and shows it on standard error: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[file]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames, {task.fields[rate]:.1f} frames/s,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", file="", rate=0.0, total=None)
        pace = _Pace()

        def watch(told: Any) -> None:
            rate = pace.rate(told.encoded or told.done)  # what is kept from before says nothing of the pace
            bar.update(task, completed=told.done, total=told.total, file=told.file[-40:], rate=rate)
            if not console.is_terminal and pace.due():
                left = (told.total - told.done) / max(rate, 1e-9)
                said = f"{told.done}/{told.total} frames, {rate:.1f} frames/s, about {left:.0f} s left: {told.file}"
                print(said, file=sys.stderr, flush=True)

        yield watch


class _Pace:
    """How fast it goes since the start, and whether it is time for another line."""

    def __init__(self):
        from time import monotonic

        self._now = monotonic
        self._began = self._said = monotonic()

    def rate(self, done: int) -> float:
        return done / max(self._now() - self._began, 1e-9)

    def due(self) -> bool:
        if self._now() - self._said < EVERY:
            return False
        self._said = self._now()
        return True


def _print(counts: dict[str, Any]) -> None:
    c, left = counts, counts["left_out"]
    print(
        f"{c['out']}: {c['records']} records in {c['shards']} shards ({c['images']} pictures, {c['videos']} videos, "
        f"{c['captioned']} with captions), {c['frames']:,} frames, {c['codes']:,} codes"
    )
    print(f"  {c['encoded']} frames encoded, {c['cached']} kept from before; {c['frames_per_second']} frames/s")
    if left["count"]:
        print(f"  {left['count']} left out: " + ", ".join(f"{kind} ({n})" for kind, n in left["kinds"].items()))
        for fault in left["files"]:
            print(f"    {fault['file']}: {fault['problem']}")
    if c["other"]:
        more = f" and {len(c['other']) - 10} more" if len(c["other"]) > 10 else ""
        print(f"  {len(c['other'])} other files passed over: {', '.join(c['other'][:10])}{more}")
    print(f'`lwm validate {c["out"]}` checks it; a source of use = "shards" trains on it.')
