"""`lwm chat`: a conversation with a run's model, about pictures and films too. The work is `lwm_core.sample.chat`'s.

Owns the commands of the conversation, what is said of the frames that were taken, and how answers are shown.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwm_registry.cli.common import print_json
from lwm_registry.cli.speaking import picture_in, sampler_of, seconds_told, spoken, told, wording_given
from lwm_registry.errors import RegistryError, message


if TYPE_CHECKING:
    from lwm_core.sample import Conversation


HELP = """/video FILE   show a film with the next question
/image FILE   show a picture with the next question
/save FILE    write the conversation as a chat record (JSON)
/new          forget everything and begin again
/help         this; /quit, or end of input, ends"""
RESERVED = "x" * 64  # stands for a question that is not known yet, when frames are counted


def chat(
    model: Annotated[str, typer.Argument(metavar="DIR_OR_RECIPE", help="A run's folder, or a recipe.")],
    video: Annotated[Path | None, typer.Option("--video", help="A film to ask about.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="A picture to ask about.")] = None,
    question: Annotated[str | None, typer.Option("--question", help="One question, and no conversation.")] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames a second of film; as it was trained.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="At most so many frames of a film.")] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="At most so many tokens of an answer.")] = 128,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Of the answer; 0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Of the answer.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler.")] = 0,
    form: Annotated[str | None, typer.Option("--form", help="chat or pair; the run's own if not given.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="A wording: {f:vision}{question}[{a}].")] = None,
    system: Annotated[str | None, typer.Option("--system", help="The opening of a chat.")] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="A text that ends an answer; repeat it.")] = None,
    context: Annotated[int | None, typer.Option("--context", min=1, help="Ids; its longest row if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --question: the answer as JSON.")] = False,
) -> None:
    """Ask a model, in turns or once. A film with more frames than fit is sampled evenly, and it says which were taken.

    Example: lwm chat runs/demo --video film.mp4 --question "What happens?"
    """
    if video is not None and image is not None:
        raise RegistryError("--video and --image are both given: give one.")
    if as_json and question is None:
        raise RegistryError("--json is for one answer: give --question.")
    if question is not None and not question.strip():
        raise RegistryError("--question is empty: write one.")
    if fps is not None and not 0 < fps < float("inf"):
        raise RegistryError(f"--fps {fps:g}: give a positive number.")
    for path in (video, image):
        if path is not None and not path.is_file():
            raise RegistryError(f"{path}: there is no such file (seen from {Path.cwd()}).")
    pipeline = spoken(model, overrides or ())
    from lwm_core.sample import Conversation
    from lwm_core.sample.world import wording_for

    wording = wording_given(form, template, system) or wording_for(pipeline, "ask")

    def begun() -> "Conversation":
        sampler = sampler_of(pipeline, (None, None), (temperature, top_k))
        stops = tuple(stop or ())
        return Conversation(pipeline, wording=wording, context=context, sampler=sampler, seed=seed, stops=stops)

    rate = fps or float(getattr(pipeline.sources.get(wording.source), "fps", None) or 1.0)
    screen = _Screen(begun(), rate, frames, tokens)
    seen = video or image
    shown = {} if seen is None else screen.show(seen, film=video is not None, question=question)
    if question is None:
        _turns(screen, begun)
        return
    answer = screen.talk.ask(question, tokens=tokens)
    if as_json:
        ids = {"read": answer.read, "written": answer.written, "left": answer.left}
        facts = {"question": question, "answer": answer.text, **shown, "ids": ids, "ended": answer.ended}
        print_json({**facts, "seed": seed, "wording": told(wording)})
    else:
        print(answer.text)


class _Screen:
    """A conversation with what is shown in it, on a terminal."""

    def __init__(self, talk: "Conversation", fps: float, most: int | None, tokens: int):
        self.talk, self.fps, self.most, self.tokens = talk, fps, most, tokens

    def show(self, path: Path, *, film: bool, question: str | None) -> dict[str, Any]:
        """Puts a file beside the next question, and says on standard error which frames were taken."""
        from lwm_core.sample.world import need_vision
        from lwm_core.vision.video import Sampling, read_evenly

        vision = need_vision(self.talk.world)
        fit = self.talk.frames_that_fit(RESERVED if question is None else question, self.tokens)
        if fit < 1:
            raise RegistryError(
                f"{path}: not one frame of {vision.codes_per_frame + 1} ids fits beside the question and an answer of "
                f"{self.tokens} tokens: {self.talk.session.room} ids are left. Give fewer --tokens or more --context."
            )
        size = min(vision.frame_size)
        if film:
            frames = read_evenly(path, min(fit, self.most or fit), Sampling(size, fps=self.fps))
        else:
            frames = picture_in(path, size)
        self.talk.show(frames.unit())
        if film:
            print(f"{path}: {len(frames)} frames taken, at {seconds_told(frames.seconds)}", file=sys.stderr)
        return {"file": str(path), "frames": len(frames), "seconds": [round(float(s), 3) for s in frames.seconds]}


def _turns(screen: _Screen, begun: Any) -> None:
    """Reads questions and commands until the input ends."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print("Ask, or type /help.", style="dim")
    while True:
        try:
            line = console.input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if line == "/quit":
            return
        try:
            _answered(screen, begun, line, console)
        except KeyboardInterrupt:
            console.print("\n(stopped)", style="dim")
            screen.talk = begun()
            console.print("The conversation begins again.", style="dim")
        except (ValueError, OSError, ImportError) as error:
            console.print(f"lwm: {message(error)}", style="red")


def _answered(screen: _Screen, begun: Any, line: str, console: Any) -> None:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if not line:
        return
    if not line.startswith("/"):
        _say(screen, line, console)
    elif command == "/help":
        console.print(HELP)
    elif command == "/new":
        screen.talk = begun()
    elif command in ("/video", "/image", "/save") and not rest:
        raise RegistryError(f"{command} needs a file: {command} FILE.")
    elif command in ("/video", "/image"):
        screen.show(Path(rest).expanduser(), film=command == "/video", question=None)
    elif command == "/save":
        _save(screen.talk, Path(rest).expanduser())
        console.print(f"{rest}: {len(screen.talk.turns)} turns", style="dim")
    else:
        raise RegistryError(f"There is no {command}: type /help.")


def _say(screen: _Screen, question: str, console: Any) -> None:
    """The answer as it is written; then how much room is left."""
    said = ""

    def heard(text: str) -> None:
        nonlocal said
        text = text.rstrip("�")  # bytes of a character that is not whole yet
        if text.startswith(said):
            console.print(text[len(said) :], end="", soft_wrap=True)
            said = text

    console.print("model> ", end="", style="bold")
    answer = screen.talk.ask(question, tokens=screen.tokens, watch=heard)
    rest = answer.text[len(said) :] if answer.text.startswith(said) else ""
    console.print(rest + ("" if answer.ended else " ..."), soft_wrap=True)
    console.print(f"({answer.written} tokens, {answer.left} ids left)", style="dim")


def _save(talk: "Conversation", path: Path) -> None:
    """One line of the chat schema, which the source `jsonl` reads."""
    messages = []
    for turn in talk.turns:
        messages += [{"role": "user", "content": turn["question"]}, {"role": "assistant", "content": turn["answer"]}]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", "utf-8")
