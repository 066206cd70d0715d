"""Conformance kit for vision tokenizers: `check_vision_tokenizer(family)`. Owns no test runner and needs none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.vision import (
    AbstractVisionFamily,
    AbstractVisionTokenizer,
    frames_to_ids,
    ids_to_frames,
    vision_modality,
)


def check_vision_tokenizer(family: AbstractVisionFamily, tokenizer: AbstractVisionTokenizer | None = None) -> None:
    """Raises `AssertionError` unless the family and its tokenizer keep their contract.

    Sizes agree with shapes; codes are in range and the same whoever shares the batch, alone, in any order and
    under `jit`; pixels come back in [0, 1]; the same key gives the same tokenizer; codes survive as a run of ids.
    `tokenizer` is a trained one, if there is one; otherwise the family makes one.
    """
    assert isinstance(family, AbstractVisionFamily), f"{type(family).__name__} is no AbstractVisionFamily."
    made = family.init(key=jax.random.key(0))
    tokenizer = made if tokenizer is None else tokenizer
    for each in {id(t): t for t in (made, tokenizer)}.values():
        assert isinstance(each, AbstractVisionTokenizer), f"init gives a {type(each).__name__}."
        frames = _frames(each.frame_size)
        codes = np.asarray(each.encode(frames))
        _check_codes(each, frames, codes)
        _check_batches(each, frames, codes)
        _check_pixels(each, codes)
        _check_ids(each, codes)
    _check_seed(family, made)


def _frames(size: tuple[int, int]) -> jax.Array:
    """Seven frames: black, white, a ramp, and noise of several strengths."""
    generator = np.random.default_rng(0)
    rows, columns = size
    ramp = np.broadcast_to(np.linspace(0, 1, columns)[None, :, None], (rows, columns, 3))
    noise = [0.5 + strength * (generator.random((rows, columns, 3)) - 0.5) for strength in (0.1, 0.4, 0.7, 1.0)]
    return jnp.asarray(np.stack([np.zeros_like(ramp), np.ones_like(ramp), ramp, *noise]), jnp.float32)


def _check_codes(tokenizer: AbstractVisionTokenizer, frames: jax.Array, codes: np.ndarray) -> None:
    shape = (len(frames), tokenizer.codes_per_frame)
    assert codes.shape == shape and codes.dtype == np.int32, f"encode gives {codes.dtype} {codes.shape}, not {shape}."
    assert codes.min() >= 0 and codes.max() < tokenizer.codebook_size, (
        f"Codes {codes.min()}..{codes.max()} with a codebook of {tokenizer.codebook_size}."
    )
    none = np.asarray(tokenizer.encode(frames[:0]))
    assert none.shape == (0, tokenizer.codes_per_frame), f"encode of no frames gives {none.shape}."
    rows, columns = tokenizer.frame_size
    _must_refuse(lambda: tokenizer.encode(jnp.zeros((1, rows + 1, columns, 3))), "frames of another size")


def _check_batches(tokenizer: AbstractVisionTokenizer, frames: jax.Array, codes: np.ndarray) -> None:
    alone = np.concatenate([np.asarray(tokenizer.encode(frames[i : i + 1])) for i in range(len(frames))])
    assert np.array_equal(alone, codes), "The codes of a frame depend on which frames share its batch."
    order = np.array([3, 0, 6, 2, 5])
    assert np.array_equal(np.asarray(tokenizer.encode(frames[order])), codes[order]), "Codes depend on the order."
    assert np.array_equal(np.asarray(tokenizer.encode(frames)), codes), "Two calls give different codes."
    traced = np.asarray(eqx.filter_jit(lambda part, batch: part.encode(batch))(tokenizer, frames))
    assert traced.shape == codes.shape and np.mean(traced == codes) > 0.9, "encode under jit gives other codes."


def _check_pixels(tokenizer: AbstractVisionTokenizer, codes: np.ndarray) -> None:
    pixels = np.asarray(tokenizer.decode(jnp.asarray(codes)))
    shape = (len(codes), *tokenizer.frame_size, 3)
    assert pixels.shape == shape and pixels.dtype == np.float32, f"decode gives {pixels.dtype} {pixels.shape}."
    assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1, "Pixels leave [0, 1]."
    again = np.asarray(tokenizer.decode(jnp.asarray(codes[2:3])))
    assert np.allclose(again, pixels[2:3], atol=1e-5), "The pixels of a frame depend on its batch."
    _must_refuse(lambda: tokenizer.decode(jnp.asarray(codes[:, :-1])), "a frame with a code too few")


def _check_ids(tokenizer: AbstractVisionTokenizer, codes: np.ndarray) -> None:
    ids, modality = frames_to_ids(codes, tokenizer), vision_modality(tokenizer)
    assert len(ids) == len(codes) * (tokenizer.codes_per_frame + 1) and ids.max() < modality.size
    assert ids[-1] == modality.markers["eov"] and np.array_equal(ids_to_frames(ids, tokenizer), codes)


def _check_seed(family: AbstractVisionFamily, made: AbstractVisionTokenizer) -> None:
    again = jax.tree.leaves(family.init(key=jax.random.key(0)))
    for one, other in zip(jax.tree.leaves(made), again, strict=True):
        assert np.array_equal(one, other), "The same key gives another tokenizer."


def _must_refuse(call, what: str) -> None:
    try:
        call()
    except Exception:  # ours is a ValueError; the shape checker of a test run comes first and has its own type
        return
    raise AssertionError(f"The tokenizer takes {what} without an error.")
