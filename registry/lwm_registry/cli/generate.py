"""`lwm generate`: pictures, clips, or text and pictures as the model likes. The work is `lwm_core.sample`'s.

Owns the options, the names of files, and what is said at the end.
"""

import importlib
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwm_registry.cli.common import print_json
from lwm_registry.cli.speaking import is_picture, picture_in, progress, sampler_of, spoken, told, wording_given
from lwm_registry.errors import RegistryError


if TYPE_CHECKING:
    import numpy as np

    import lwm_core.pipeline
    from lwm_core.sample import Clip


def generate(
    model: Annotated[str, typer.Argument(metavar="DIR_OR_RECIPE", help="A run's folder, or a recipe.")],
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    out: Annotated[Path, typer.Option("--out", help="The file: .png, .gif or .mp4.")],
    image: Annotated[bool, typer.Option("--image", help="One picture.")] = False,
    video: Annotated[int | None, typer.Option("--video", metavar="N", help="A clip of N frames.")] = None,
    free: Annotated[bool, typer.Option("--any", help="Text and pictures, as the model likes.")] = False,
    start: Annotated[Path | None, typer.Option("--from", help="A picture or film that the clip goes on from.")] = None,
    start_frames: Annotated[int, typer.Option("--from-frames", min=1, help="Of a film, so many of its last.")] = 4,
    count: Annotated[int, typer.Option("--count", min=1, help="So many pictures or clips.")] = 1,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="With --any: at most so many tokens.")] = 256,
    guidance: Annotated[float, typer.Option("--guidance", help="Classifier-free guidance; 1 is none.")] = 1.0,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Of codes; 0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Of codes.")] = None,
    text_temperature: Annotated[float | None, typer.Option("--text-temperature", help="Of text.")] = None,
    text_top_k: Annotated[int | None, typer.Option("--text-top-k", help="Of text.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler.")] = 0,
    fps: Annotated[float, typer.Option("--fps", help="Frames a second, of what is written and read.")] = 4.0,
    scale: Annotated[int, typer.Option("--scale", min=1, help="Screen pixels for each pixel.")] = 1,
    form: Annotated[str | None, typer.Option("--form", help="chat or pair; the run's own if not given.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="A wording: {prompt} <vision>{f:vision}.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="The opening of a chat.")] = None,
    context: Annotated[int | None, typer.Option("--context", min=1, help="Ids; its longest row if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Files, codes of each frame and text as JSON.")] = False,
) -> None:
    """Draw pictures and clips, each frame of exactly the tokenizer's codes.

    Guidance needs a model that also saw pictures without text in training; nothing in a checkpoint says whether it did.

    Example: lwm generate runs/demo "a white rabbit" --video 8 --out rabbit.gif
    """
    _check_request(image, video, free, out, start, count, fps)
    pipeline = spoken(model, overrides or ())
    from lwm_core.sample import draw_clips
    from lwm_core.sample.world import need_vision, wording_for

    need_vision(pipeline)
    wording = wording_given(form, template, system) or wording_for(pipeline, "draw")
    sampler = sampler_of(pipeline, (temperature, top_k), (text_temperature, text_top_k))
    common: dict[str, Any] = {"sampler": sampler, "seed": seed, "wording": wording, "context": context}
    facts: dict[str, Any] = {"prompt": prompt, "seed": seed, "guidance": guidance, "wording": told(wording)}
    began = monotonic()
    if free:
        facts |= _free(pipeline, prompt, out, tokens, fps, scale, not as_json, **common)
    else:
        begun = None if start is None else _begun(pipeline, start, start_frames, fps)
        with progress("tokens") as watch:
            frames = 1 if image else video or 1
            more = {"start": begun, "guidance": guidance, "watch": watch}
            clips = draw_clips(pipeline, prompt, frames=frames, count=count, **more, **common)
        names = [out] if count == 1 else [out.with_stem(f"{out.stem}-{n}") for n in range(1, count + 1)]
        for name, clip in zip(names, clips, strict=True):
            _write(name, clip.pixels, fps, scale)
        facts |= _facts(list(zip([[str(name)] for name in names], clips, strict=True)), clips[0].text)
    facts["seconds"] = round(monotonic() - began, 3)
    print_json(facts) if as_json else _print(facts)


def _check_request(
    image: bool, video: int | None, free: bool, out: Path, start: Path | None, count: int, fps: float
) -> None:
    """Whatever can be known to be wrong before a model is loaded."""
    from lwm_core.vision.write import WRITERS

    if image + (video is not None) + free != 1:
        raise RegistryError("Say what to make, one of: --image, --video N (frames), --any (the model chooses).")
    if video is not None and video < 1:
        raise RegistryError(f"--video {video}: give at least 1 frame.")
    suffix = out.suffix.lower()
    if suffix not in WRITERS:
        raise RegistryError(
            f"--out {out}: no format is called {suffix!r}: name a file that ends in .png, .gif or .mp4."
        )
    if suffix == ".png" and video is not None and (video > 1 or start is not None):
        raise RegistryError(f"--out {out}: a PNG holds one picture, and this is a clip: name a .gif or .mp4.")
    if image and start is not None:
        raise RegistryError("--from is for clips: give --video N.")
    if free and (start is not None or count > 1):
        raise RegistryError("--any takes no --from and no --count: the model decides how many pictures there are.")
    if not 0 < fps < float("inf"):
        raise RegistryError(f"--fps {fps:g}: give a positive number.")
    if start is not None and not start.is_file():
        raise RegistryError(f"--from {start}: there is no such file (seen from {Path.cwd()}).")
    needed = "av" if suffix == ".mp4" or (start is not None and not is_picture(start)) else "PIL.Image"
    importlib.import_module("lwm_core.vision.video").need(needed)


def _begun(pipeline: "lwm_core.pipeline.Pipeline", start: Path, most: int, fps: float) -> "np.ndarray":
    """The frames to go on from, in [0, 1]."""
    from lwm_core.sample.world import need_vision
    from lwm_core.vision.video import Sampling, read_video

    size = min(need_vision(pipeline).frame_size)
    frames = picture_in(start, size) if is_picture(start) else read_video(start, Sampling(size, fps=fps))
    return frames.unit()[-most:]


def _free(
    pipeline: "lwm_core.pipeline.Pipeline", prompt: str, out: Path, tokens: int, fps: float, scale: int, say: bool,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Text to standard output and clips to files as they come; the facts at the end."""
    from lwm_core.sample import Clip, generate_any

    files: list[list[str]] = []
    shown = [0, 0]  # parts that are done with, characters of the one after them

    def heard(parts: list["str | Clip"], last: bool = False) -> None:
        for index, part in enumerate(parts[shown[0] :], shown[0]):
            if isinstance(part, Clip):
                files.append(_numbered(out, len(files) + 1, part, fps, scale))
                text = f"\n[{', '.join(files[-1])}]\n"
            else:
                whole = last or index + 1 < len(parts)
                # A character whose bytes are not all there yet waits for the rest.
                text, shown[1] = part[shown[1] :].rstrip("" if whole else "�"), shown[1]
                shown[1] += len(text)
            if say:
                print(text, end="", flush=True)
            if isinstance(part, Clip) or index + 1 < len(parts):
                shown[:] = [index + 1, 0]

    parts = generate_any(pipeline, prompt, tokens=tokens, watch=heard, **options)
    heard(parts, last=True)
    if say:
        print()
    clips = [part for part in parts if isinstance(part, Clip)]
    told = [part if isinstance(part, str) else {"files": files[clips.index(part)]} for part in parts]
    text = "".join(part for part in parts if isinstance(part, str))
    return {**_facts(list(zip(files, clips, strict=True)), text), "parts": told}


def _numbered(out: Path, number: int, clip: "Clip", fps: float, scale: int) -> list[str]:
    """One file for a clip; for PNG one for each of its frames."""
    name = out.with_stem(f"{out.stem}-{number}")
    if out.suffix.lower() != ".png" or len(clip.pixels) == 1:
        _write(name, clip.pixels, fps, scale)
        return [str(name)]
    names = [name.with_stem(f"{name.stem}-{at}") for at in range(1, len(clip.pixels) + 1)]
    for each, frame in zip(names, clip.pixels, strict=True):
        _write(each, frame, fps, scale)
    return [str(each) for each in names]


def _write(name: Path, pixels: "np.ndarray", fps: float, scale: int) -> None:
    from lwm_core.vision.write import write_frames

    write_frames(name, pixels, fps=fps, scale=scale)


def _facts(made: "list[tuple[list[str], Clip]]", text: str) -> dict[str, Any]:
    clips = [
        {"files": files, "frames": len(clip.codes), "given": clip.given, "codes": clip.codes.tolist()}
        for files, clip in made
    ]
    return {
        "text": text,
        "files": [name for files, _ in made for name in files],
        "codes_per_frame": [len(frame) for clip in clips for frame in clip["codes"]],
        "clips": clips,
    }


def _print(facts: dict[str, Any]) -> None:
    frames, files = len(facts["codes_per_frame"]), facts["files"]
    size = f" of {facts['codes_per_frame'][0]} codes" if frames else ""
    print(f"{frames} frames{size} in {facts['seconds']:.1f} s, seed {facts['seed']}", file=sys.stderr)
    for name in files if "parts" not in facts else ():  # those of --any were named where they came
        print(name)
