"""`python -m lwm_vqgan.train FILM --out FILE`: trains a tokenizer on frames of a film and writes its weights.

Owns the command's options. The work is `train_tokenizer`'s.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from lwm_vqgan.shape import SIZES
from lwm_vqgan.train.recipe import TokenizerRecipe


def main(arguments: list[str] | None = None) -> int:
    """The exit status; a message instead of a traceback for what a user can put right."""
    asked = _parser().parse_args(arguments)
    try:
        _train(asked)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m lwm_vqgan.train", description="Train a VQGAN on frames of a film.")
    parser.add_argument("film", type=Path, help="a video file")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.safetensors)")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--fps", type=float, default=9.0, help="frames to train on per second of film")
    parser.add_argument("--stop", type=float, help="train on the film up to this second")
    parser.add_argument("--held-out", type=float, nargs=2, metavar=("FROM", "TO"), help="seconds to score on")
    for field in dataclasses.fields(TokenizerRecipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    return parser


def _train(asked: argparse.Namespace) -> None:
    # Imported late: the options of the command can be listed without JAX.
    from lwm_vqgan.tokenizer import VQGANFamily
    from lwm_vqgan.train import film_bank, film_held_out, score, train_tokenizer
    from lwm_vqgan.weights import save_weights

    if asked.held_out and asked.stop is not None and asked.held_out[0] < asked.stop:
        raise ValueError(f"--held-out from {asked.held_out[0]} s overlaps training up to {asked.stop} s.")
    if not asked.out.parent.is_dir():
        raise FileNotFoundError(f"No folder {asked.out.parent} for --out: make it first.")
    recipe = TokenizerRecipe(**{f.name: getattr(asked, f.name) for f in dataclasses.fields(TokenizerRecipe)})
    family = VQGANFamily(asked.size)
    size = family.shape.frame
    bank = film_bank(asked.film, size, fps=asked.fps, stop=asked.stop)
    print(f"{sum(map(len, bank.sets))} frames of {asked.film.name} to train on", flush=True)
    held_out = None
    if asked.held_out:
        held_out = film_held_out(asked.film, size, fps=4.0, start=asked.held_out[0], stop=asked.held_out[1])
    tokenizer = train_tokenizer(family, bank, recipe, held_out=held_out, report=lambda line: print(line, flush=True))
    facts = {"film": asked.film.name, "stop": asked.stop, "recipe": dataclasses.asdict(recipe)}
    if held_out is not None:
        facts |= {"held_out": asked.held_out, "score": dataclasses.asdict(score(tokenizer, held_out))}
        print(facts["score"])
    save_weights(tokenizer, tokenizer.shape, asked.out, facts)
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    raise SystemExit(main())
