"""The passport of a VQGAN: what its codes mean, measured on the tokenizer itself.

Owns the golden codes and the files that carry a passport. What a passport is, and the check of data against a model, is
`lwm_core.vision.passport`'s, so that data of any tokenizer can carry one.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lwm_core.vision.passport import Passport
from lwm_vqgan.pictures import NAME, pictures
from lwm_vqgan.probe import decibels
from lwm_vqgan.vqgan import VQGAN
from lwm_vqgan.weights import save_diffusers, save_weights


GOLDEN = 256  # codes of the first picture that are kept


def passport(tokenizer: VQGAN) -> Passport:
    """Its passport with PSNR and golden codes, which cost an encode and a decode."""
    score, golden = _measure(tokenizer)
    bare = Passport.of_plain(tokenizer.passport())
    return replace(bare, range_from=tokenizer.range_from, pictures=NAME, psnr=score, golden=golden)


def save_tokenizer(tokenizer: VQGAN, path: str | Path, facts: Mapping[str, object] | None = None) -> Passport:
    """Writes `path` with its passport inside: one file if it ends in .safetensors, else a folder for diffusers."""
    made = passport(tokenizer)
    known = {**(facts or {}), "passport": made.plain(), "range_from": tokenizer.range_from}
    save = save_weights if Path(path).suffix == ".safetensors" else save_diffusers
    save(tokenizer, tokenizer.shape, path, known)
    return made


def must_match(tokenizer: VQGAN, facts: Mapping[str, object], path: str | Path) -> None:
    """Raises `ValueError` if a file's passport is not that of the tensors beside it."""
    carried = facts.get("passport")
    if not isinstance(carried, Mapping):
        return
    stated, found = Passport.of_plain(carried).hash, tokenizer.passport()["hash"]
    if stated != found:
        raise ValueError(
            f"{path} carries passport {stated}, and its tensors have {found}: they were changed after "
            "it was written. Copy the file again, or write it anew with save_tokenizer."
        )


def must_reproduce(tokenizer: VQGAN, stated: Passport) -> None:
    """Raises `ValueError` unless the golden codes come out again on this machine."""
    _, golden = _measure(tokenizer)
    differing = sum(one != other for one, other in zip(golden, stated.golden, strict=True))
    if differing:
        raise ValueError(
            f"{differing} of {len(golden)} golden codes of passport {stated.hash} come out differently "
            "on this machine: its arithmetic is not that of float32 at full precision."
        )


def _measure(tokenizer: VQGAN) -> tuple[float, tuple[int, ...]]:
    shown = pictures(tokenizer.shape.frame)
    codes = tokenizer.encode(jnp.asarray(shown))
    golden = tuple(int(code) for code in np.asarray(codes[0, :GOLDEN]))
    return round(decibels(shown, np.asarray(tokenizer.decode(codes))), 3), golden
