"""Conformance kit for evaluators: `check_evaluator(evaluator)`. Owns no test runner."""

import json

import equinox as eqx
import jax

from lwm_core.evaluate.base import Evaluation, Evaluator, Subject
from lwm_core.model import TransformerFamily
from lwm_core.text import ByteTokenizer, TextTokenizer
from lwm_core.vision import AbstractVisionFamily, AbstractVisionTokenizer, vision_modality
from lwm_core.vocab import Modality, Vocabulary


def tiny_subject(
    tokenizer: TextTokenizer | None = None, vision: AbstractVisionTokenizer | AbstractVisionFamily | None = None
) -> Subject:
    """A subject with fresh weights and one modality, text; with `vision`, its codes too."""
    tokenizer = tokenizer or ByteTokenizer()
    vocabulary = Vocabulary((Modality("text", tokenizer.size, tokenizer.markers),))
    if vision is not None:
        seen = vision.init(key=jax.random.key(0)) if isinstance(vision, AbstractVisionFamily) else vision
        vocabulary = vocabulary.with_modality(vision_modality(seen))
    family = TransformerFamily(vocab_size=vocabulary.size, width=16, layers=1, heads=2, kv_heads=1, ffn=16)
    return Subject(eqx.filter_jit(family.init)(key=jax.random.key(0)), tokenizer, vocabulary)


def check_evaluator(evaluator: Evaluator, subject: Subject | None = None) -> None:
    """Raises `AssertionError` unless the evaluator keeps its contract.

    It gives an `Evaluation` with a name and records of plain JSON values in equal columns, and the same again
    for the same subject. Give a small `subject`; by default one of fresh weights over bytes, and over the codes of
    the evaluator's `vision` if it has one.
    """
    assert isinstance(evaluator, Evaluator), f"{type(evaluator).__name__} is not an Evaluator."
    subject = subject or tiny_subject(vision=getattr(evaluator, "vision", None))
    first = evaluator(subject)
    assert isinstance(first, Evaluation), f"Expected an Evaluation, got {type(first).__name__}."
    assert first.name and first.records, "An evaluation without a name or without records."
    plain = _plain(first)
    assert json.loads(plain) == json.loads(_plain(evaluator(subject))), "The same subject gave another evaluation."
    columns = {tuple(sorted(record)) for record in first.records}
    assert len(columns) == 1, f"Records have different columns: {sorted(columns)}."


def _plain(evaluation: Evaluation) -> str:
    try:
        return json.dumps([list(map(dict, evaluation.records)), dict(evaluation.summary)], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"Records or summary of {evaluation.name!r} are not plain JSON: {error}.") from error
