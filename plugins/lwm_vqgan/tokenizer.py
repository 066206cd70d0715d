"""The static families of VQGANs, with a codebook and with FSQ: their options, and a tokenizer fresh or from a file.

Owns what happens when options and a file disagree. The tokenizer itself is `vqgan`'s, files are `weights`'.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from lwm_core.vision import AbstractVisionFamily
from lwm_vqgan.passport import must_match
from lwm_vqgan.probe import find_range
from lwm_vqgan.shape import FSQ_LEVELS, SIZES, VQGANShape
from lwm_vqgan.vqgan import GIVEN, VQGAN, skeleton
from lwm_vqgan.weights import fill, read_weights


class VQGANFamily(AbstractVisionFamily):
    """A VQGAN by a named size; anything else that is given overrides that size's value.

    With no size, `init` makes the tokenizer of LWM and aMUSEd ("full": 256 pixels, 16×16 codes of 8192), and
    `restore` takes the sizes from the file; whatever is given must agree with the file. The other options are as in
    `VQGANShape`; `frames_at_once` bounds memory while encoding and decoding.
    """

    size: str | None = eqx.field(static=True, default=None)
    frame: int | None = eqx.field(static=True, default=None)
    channels: tuple[int, ...] | None = eqx.field(static=True, default=None)
    blocks: int | None = eqx.field(static=True, default=None)
    codebook: int | None = eqx.field(static=True, default=None)
    code_dim: int | None = eqx.field(static=True, default=None)
    groups: int | None = eqx.field(static=True, default=None)
    patch: int | None = eqx.field(static=True, default=None)
    pixel_range: tuple[float, float] | None = eqx.field(static=True, default=None)
    frames_at_once: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        _check(self.size, self.frames_at_once)
        if self.size is not None or self.channels is not None:  # otherwise a file may yet say how many levels there are
            self.shape  # noqa: B018 (an option that does not fit is an error now, not at the first use)

    @property
    def shape(self) -> VQGANShape:
        """Every size in numbers, of a tokenizer that `init` makes."""
        return VQGANShape(**{**vars(SIZES["full"]), **self.given})

    @property
    def given(self) -> dict[str, Any]:
        """The sizes that were asked for, by name or by number."""
        named = {} if self.size is None else vars(SIZES[self.size])
        return {**named, **{name: value for name in _SIZES if (value := getattr(self, name, None)) is not None}}

    def init(self, *, key: PRNGKeyArray) -> VQGAN:
        return VQGAN(self.shape, self.frames_at_once, key=key)

    def restore(self, path: str | Path) -> VQGAN:
        """The tokenizer with the weights at `path`: a file of ours, a folder of diffusers or open-muse, or LWM's.

        A format that does not say its pixel range has it found by `probe`, unless `pixel_range` is given. Raises
        `FileNotFoundError`, or `ValueError` naming the size or the tensor that does not fit.
        """
        return _restored(self.given, self.frames_at_once, Path(path), SIZES["full"], self.pixel_range is not None)


class FSQFamily(AbstractVisionFamily):
    """The same network with finite scalar quantisation: no codebook to learn, and none of it can die.

    `levels` are those of each channel of a latent; their product is the number of codes. Mentzer et al.
    (arXiv 2309.15505) advise 5 or more of each, such as (8, 5, 5, 5) for 1000 codes. The other options are as in
    `VQGANFamily`, and a file says its sizes likewise.
    """

    size: str | None = eqx.field(static=True, default=None)
    levels: tuple[int, ...] | None = eqx.field(static=True, default=None)
    frame: int | None = eqx.field(static=True, default=None)
    channels: tuple[int, ...] | None = eqx.field(static=True, default=None)
    blocks: int | None = eqx.field(static=True, default=None)
    groups: int | None = eqx.field(static=True, default=None)
    patch: int | None = eqx.field(static=True, default=None)
    pixel_range: tuple[float, float] | None = eqx.field(static=True, default=None)
    frames_at_once: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        _check(self.size, self.frames_at_once)
        if self.levels is not None and (not self.levels or min(self.levels) < 2):
            raise ValueError(f"levels={self.levels}: give at least one channel, of at least 2 levels each.")
        if self.size is not None or self.channels is not None:
            self.shape  # noqa: B018 (an option that does not fit is an error now, not at the first use)

    @property
    def shape(self) -> VQGANShape:
        """Every size in numbers, of a tokenizer that `init` makes."""
        return VQGANShape(**{**vars(_FULL_FSQ), **self.given})

    @property
    def given(self) -> dict[str, Any]:
        """The sizes that were asked for, by name or by number."""
        named = {} if self.size is None else {**vars(SIZES[self.size]), **_levels(FSQ_LEVELS[self.size])}
        asked = {name: value for name in _SIZES if (value := getattr(self, name, None)) is not None}
        return {**named, **asked, **({} if self.levels is None else _levels(self.levels))}

    def init(self, *, key: PRNGKeyArray) -> VQGAN:
        return VQGAN(self.shape, self.frames_at_once, key=key)

    def restore(self, path: str | Path) -> VQGAN:
        """The tokenizer with the weights at `path`, a file of ours; raises as that of `VQGANFamily` does."""
        return _restored(self.given, self.frames_at_once, Path(path), _FULL_FSQ, self.pixel_range is not None)


def _check(size: str | None, frames_at_once: int) -> None:
    if frames_at_once < 1:
        raise ValueError(f"frames_at_once={frames_at_once}: give 1 or more.")
    if size not in (None, *SIZES):
        raise ValueError(f"No VQGAN size {size!r}: give one of {', '.join(SIZES)}, and override from there.")


def _levels(levels: tuple[int, ...]) -> dict[str, Any]:
    """The sizes that levels settle."""
    return {"levels": levels, "codebook": math.prod(levels), "code_dim": len(levels)}


_SIZES = tuple(field.name for field in dataclasses.fields(VQGANShape))
_FULL_FSQ = VQGANShape(**{**vars(SIZES["full"]), **_levels(FSQ_LEVELS["full"])})


def _restored(given: dict[str, Any], frames_at_once: int, path: Path, full: VQGANShape, range_given: bool) -> VQGAN:
    """The tokenizer at `path`; sizes that neither the file nor `given` says are those of `full`."""
    weights = read_weights(path)
    if bool(weights.sizes.get("levels")) != bool(full.levels):
        held, use = ("a codebook", "vqgan") if full.levels else ("finite scalar quantisation", "fsq")
        raise ValueError(f"{path} holds a tokenizer with {held}: build the family {{'use': {use!r}}} to read it.")
    _must_agree(given, weights.sizes, path)
    shape = VQGANShape(**{**vars(full), **given, **weights.sizes})
    stated = weights.facts.get("range_from", GIVEN)
    made = fill(skeleton(shape, frames_at_once, str(stated)), weights.tensors, path)
    must_match(made, weights.facts, path)
    if "pixel_range" in weights.sizes or range_given:
        return made
    return find_range(made, path)


def _must_agree(asked: dict[str, Any], found: Mapping[str, Any], path: str | Path) -> None:
    differing = {name: (asked[name], there) for name, there in found.items() if asked.get(name, there) != there}
    if not differing:
        return
    if "levels" in differing:  # which settle the other two
        differing = {name: pair for name, pair in differing.items() if name not in ("codebook", "code_dim")}
    named = next((f"size={name!r}" for name, shape in SIZES.items() if vars(shape) == found), None)
    fix = named or ", ".join(f"{name}={there!r}" for name, (_, there) in differing.items())
    told = "; ".join(f"{name} is {there!r}, not {here!r}" for name, (here, there) in differing.items())
    raise ValueError(
        f"{path} holds a VQGAN of another size: {told}. "
        f"Build the family with {fix}, or with no size to take the file's."
    )
