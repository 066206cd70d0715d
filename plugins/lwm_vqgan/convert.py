"""`python -m lwm_vqgan.convert IN OUT`: a VQGAN from one format into another, with its passport.

Owns the command. IN is what `VQGANFamily.restore` takes; OUT is one file of ours (.safetensors) or a folder for
diffusers.
"""

import argparse
import json
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """The exit status; a message instead of a traceback for what a user can put right."""
    asked = _parser().parse_args(arguments)
    try:
        _convert(asked)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m lwm_vqgan.convert", description="Convert the weights of a VQGAN.")
    parser.add_argument("source", type=Path, help="a folder of diffusers or open-muse, LWM's pickle, or a file of ours")
    parser.add_argument("out", type=Path, help="a new file (.safetensors), or a new folder for diffusers")
    parser.add_argument("--frame", type=int, help="pixels on a side, if the file does not say it (default 256)")
    parser.add_argument("--groups", type=int, help="of every group norm, if the file does not say it (default 32)")
    parser.add_argument(
        "--pixel-range", type=float, nargs=2, metavar=("BLACK", "WHITE"), help="inside the network (default: probed)"
    )
    parser.add_argument("--json", action="store_true", help="print the passport as JSON")
    return parser


def _convert(asked: argparse.Namespace) -> None:
    # Imported late: the options of the command can be listed without JAX.
    from lwm_vqgan.passport import save_tokenizer
    from lwm_vqgan.tokenizer import VQGANFamily

    if asked.out.exists():
        raise FileExistsError(f"{asked.out} is there already: give a new name.")
    if not asked.out.parent.is_dir():
        raise FileNotFoundError(f"No folder {asked.out.parent} for {asked.out.name}: make it first.")
    pixel_range = None if asked.pixel_range is None else tuple(asked.pixel_range)
    family = VQGANFamily(frame=asked.frame, groups=asked.groups, pixel_range=pixel_range)
    made = save_tokenizer(family.restore(asked.source), asked.out, {"source": asked.source.name})
    if asked.json:
        print(json.dumps(made.plain()))
        return
    print(f"wrote {asked.out}, passport {made.hash}")
    print(f"{made.frame[0]} pixels, {made.grid[0]}x{made.grid[1]} codes of {made.codebook_size}, {made.psnr:.2f} dB")
    print(f"pixel range {list(made.pixel_range)}: {made.range_from}")


if __name__ == "__main__":
    raise SystemExit(main())
