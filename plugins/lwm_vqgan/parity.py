"""`python -m lwm_vqgan.parity FILM`: this network beside diffusers' `VQModel`, on the same weights and pictures.

Owns the comparison and its figures: latents, codes, pixels, the way out and in again, and the time to encode,
measured in turns. Needs the extra `parity` (torch and diffusers). No weights are fetched: they are random.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.bench.report import facts
from lwm_core.vision.video import Sampling, read_video
from lwm_vqgan.formats.sizes import diffusers_of_sizes
from lwm_vqgan.shape import SIZES, VQGANShape
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.vqgan import VQGAN
from lwm_vqgan.weights import named_leaves, save_diffusers


SHAPES = {"full": SIZES["full"], "small": VQGANShape(64, (32, 64, 64), 1, 512, 8, 8, 1, (-1.0, 1.0))}


def main() -> None:
    """Prints the figures, and keeps them in `--out`."""
    parser = argparse.ArgumentParser("python -m lwm_vqgan.parity", description="Compare with diffusers on CPU.")
    parser.add_argument("film", type=Path, help="a video file whose frames are encoded")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of timing, one of each in turn")
    parser.add_argument("--out", type=Path, help="a JSON file")
    asked = parser.parse_args()
    records = [compare(name, frames_of(asked.film, name, asked.frames), asked.rounds) for name in asked.sizes]
    command = (
        f"python -m lwm_vqgan.parity assets/clip/{asked.film.name} --frames {asked.frames} --rounds {asked.rounds}"
    )
    run = facts(command, (), ("torch", "diffusers"))
    text = json.dumps({"run": run, "records": records}, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


def frames_of(film: Path, name: str, count: int) -> np.ndarray:
    """`count` pictures `[N, Y, X, 3]` in [0, 1], spread over the film's first 40 seconds."""
    return read_video(film, Sampling(SHAPES[name].frame, fps=count / 40, stop=40.0)).unit()[:count]


def compare(name: str, frames: np.ndarray, rounds: int) -> dict[str, Any]:
    """The figures of one size."""
    # Its threads otherwise spin on after their work is done, on the cores of whoever is measured next.
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    torch, VQModel = import_module("torch"), import_module("diffusers").VQModel
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    config = {key: value for key, value in diffusers_of_sizes(SHAPES[name]).items() if not key.startswith("_")}
    theirs = VQModel(**config).eval()
    shown = torch.from_numpy(np.ascontiguousarray(2 * frames.transpose(0, 3, 1, 2) - 1))
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        latents = theirs.encode(shown).latents
        _spread_codes(torch, theirs, latents)
        theirs.save_pretrained(f"{folder}/theirs")
        family = VQGANFamily(frame=SHAPES[name].frame, pixel_range=(-1.0, 1.0))
        ours = family.restore(f"{folder}/theirs")
        figures = _difference(torch, theirs, ours, shown, frames, latents)
        figures |= {"round_trip_bit_equal": _round_trip(VQModel, theirs, ours, family, Path(folder))}
        figures |= _speed(torch, theirs, ours, shown, frames, rounds)
    return {"size": name, "frame": SHAPES[name].frame, "frames": len(frames), **figures}


def _spread_codes(torch: Any, model: Any, latents: Any) -> None:
    """Codes as wide as the latents are: fresh ones lie within 1e-4 of zero, where rounding decides between them."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    weight = model.quantize.embedding.weight
    weight.copy_(flat.mean(0) + flat.std(0) * torch.randn(weight.shape))


def _difference(torch: Any, theirs: Any, ours: VQGAN, shown: Any, frames: np.ndarray, latents: Any) -> dict[str, Any]:
    quantised, _, (_, _, codes) = theirs.quantize(latents)
    pixels = (theirs.decode(quantised, force_not_quantize=False).sample.clamp(-1, 1) + 1) / 2
    codes = codes.reshape(len(frames), -1).numpy()
    with jax.default_matmul_precision("highest"):
        made = jnp.concatenate([ours.latents(jnp.asarray(frame[None])) for frame in frames])
    found = np.asarray(ours.encode(jnp.asarray(frames)))
    alone = np.asarray(ours.with_sizes(frames_at_once=1).encode(jnp.asarray(frames)))
    drawn = np.asarray(ours.decode(jnp.asarray(codes)))
    return {
        "latents_max_difference": float(np.abs(np.asarray(made) - latents.permute(0, 2, 3, 1).numpy()).max()),
        "latents_std": float(latents.std()),
        "codes": codes.size,
        "codes_used": len(np.unique(codes)),
        "codes_that_differ": int((found != codes).sum()),
        "codes_that_differ_by_batch_size": int((found != alone).sum()),
        "pixels_max_difference": float(np.abs(drawn - pixels.permute(0, 2, 3, 1).numpy()).max()),
    }


def _round_trip(VQModel: Any, theirs: Any, ours: VQGAN, family: VQGANFamily, folder: Path) -> bool:
    """diffusers → here → diffusers → here, every tensor compared by its bits."""
    save_diffusers(ours, ours.shape, folder / "ours")
    again = VQModel.from_pretrained(folder / "ours")
    back = dict(named_leaves(family.restore(folder / "ours")))
    wanted = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    found = {name: tensor.numpy() for name, tensor in again.state_dict().items()}
    same = [np.array_equal(wanted[n], found[n]) and np.array_equal(wanted[n], np.asarray(back[n])) for n in wanted]
    return all(same) and set(wanted) == set(found) == set(back)


def _speed(torch: Any, theirs: Any, ours: VQGAN, shown: Any, frames: np.ndarray, rounds: int) -> dict[str, Any]:
    held = jnp.asarray(frames)

    def one_by_one() -> None:
        for picture in shown:
            theirs.quantize(theirs.encode(picture[None]).latents)

    runs = {
        "diffusers, one by one": one_by_one,
        "diffusers, all at once": lambda: theirs.quantize(theirs.encode(shown).latents),
        "ours": lambda: jax.block_until_ready(ours.encode(held)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first turn compiles
                seconds[name].append(round(time.perf_counter() - start, 4))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    fastest = min(taken for name, taken in medians.items() if name != "ours")
    return {
        "encode_seconds": seconds,
        "frames_per_second": {name: round(len(frames) / taken, 3) for name, taken in medians.items()},
        "times_faster_than_the_faster_diffusers": round(fastest / medians["ours"], 3),
    }


if __name__ == "__main__":
    main()
