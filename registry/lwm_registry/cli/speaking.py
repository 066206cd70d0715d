"""What `lwm generate` and `lwm chat` share: opening a model, samplers and wording from options, reading what is shown.

Owns how these options read. The work is `lwm_core.sample`'s.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from lwm_registry.cli.common import opened, overrides_of
from lwm_registry.errors import RegistryError


if TYPE_CHECKING:
    import lwm_core.pipeline
    from lwm_core.sample import AbstractSampler, Wording
    from lwm_core.vision.video import Frames


EVERY = 5.0  # seconds between two lines of progress where there is no terminal
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif")


def spoken(model: str, overrides: Iterable[str]) -> "lwm_core.pipeline.Pipeline":
    """The pipeline of a run's folder, or that of a recipe, whose weights may be fresh."""
    from lwm_registry.pipelines import compose

    if Path(model).is_dir():
        return opened(Path(model), overrides)
    try:
        pipeline = compose(model, overrides_of(overrides))
    except RegistryError as error:
        raise RegistryError(f"{model!r} is no folder of a run, and no recipe that can be used: {error}") from error
    if pipeline.weights is None:
        print(f"lwm: note: {model} has no weights, so what comes is chance: train it first.", file=sys.stderr)
    return pipeline


def sampler_of(
    pipeline: "lwm_core.pipeline.Pipeline",
    vision: tuple[float | None, int | None],
    text: tuple[float | None, int | None],
) -> "AbstractSampler":
    """The pipeline's sampler with temperature and top-k of each modality as given; None leaves its own."""
    from lwm_core.sample import ByModality

    base = pipeline.sampler
    if vision == text == (None, None):
        return base
    parts = (base.text, base.vision) if isinstance(base, ByModality) else (base, base)
    mine = _changed(parts[0], *text), _changed(parts[1], *vision)
    if isinstance(base, ByModality):
        return ByModality(pipeline.vocabulary, *mine, others=base.others, choose=base.choose)
    return ByModality(pipeline.vocabulary, *mine)


def _changed(base: "AbstractSampler", temperature: float | None, top_k: int | None) -> "AbstractSampler":
    from lwm_core.sample import Categorical, Greedy

    if temperature is None and top_k is None:
        return base
    if temperature == 0:
        return Greedy()
    known = base if isinstance(base, Categorical) else Categorical()
    return Categorical(
        known.temperature if temperature is None else temperature, known.top_k if top_k is None else top_k, known.top_p
    )


def wording_given(form: str | None, template: str | None, system: str | None) -> "Wording | None":
    """The wording that options name; None leaves it to the run's own sources."""
    from lwm_core.data.chat import Chat
    from lwm_core.sample import Wording

    if template is not None:
        if form not in (None, "template") or system is not None:
            raise RegistryError("--template is given beside --form or --system: a template says all of it.")
        return Wording("template", template=template)
    if form is None and system is None:
        return None
    if form not in (None, "chat", "pair"):
        raise RegistryError(f"--form {form}: give chat or pair, or a wording of your own with --template.")
    if form == "pair" and system is not None:
        raise RegistryError("--system is given with --form pair, which has no system message: leave one out.")
    return Wording(form or "chat", Chat() if system is None else Chat(opening=system))  # type: ignore[arg-type]


def told(wording: "Wording") -> dict[str, str]:
    """A wording as JSON data."""
    return {"form": wording.form, "template": wording.template, "source": wording.source}


def picture_in(path: Path, size: int) -> "Frames":
    """The one frame of a picture file; a film says so."""
    from lwm_core.vision.video import Sampling, VideoError, read_picture

    try:
        return read_picture(path, Sampling(size))
    except VideoError as error:
        raise RegistryError(f"{error} For a film give --video, or --from with a name of a film.") from error


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """What hears how much is done of how much, and shows it on standard error: a bar on a terminal, else lines."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task, began = bar.add_task("", total=None), monotonic()
        said = began

        def watch(done: int, total: int) -> None:
            nonlocal said
            bar.update(task, completed=done, total=total)
            now = monotonic()
            if not console.is_terminal and now - said >= EVERY and done:
                said, left = now, (now - began) / done * (total - done)
                print(f"{done}/{total} {unit}, about {left:.0f} s left", file=sys.stderr, flush=True)

        yield watch


def seconds_told(seconds: Any) -> str:
    """When frames are shown, for people: all of a few, the ends of many."""
    told = [f"{float(second):.1f}" for second in seconds]
    return ", ".join(told if len(told) <= 12 else [*told[:6], "...", *told[-3:]]) + " s"
