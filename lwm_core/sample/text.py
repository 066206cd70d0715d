"""Text in, text out: a prompt continued by a model, as strings. Owns no decoding of its own."""

import numpy as np
from jaxtyping import PRNGKeyArray

from lwm_core.evaluate.base import Subject
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.generate import generate
from lwm_core.sample.grammar import Run


def generate_text(subject: Subject, prompt: str, *, tokens: int, sampler: AbstractSampler, key: PRNGKeyArray) -> str:
    """What the model writes after `prompt`: at most `tokens` tokens, ended early by its end-of-text marker.

    The prompt opens a document, as in training. Only ids of the text modality are drawn, so the answer is text
    whatever else the model has learnt.
    """
    vocabulary = subject.vocabulary
    local = np.asarray(subject.tokenizer.encode(prompt), np.int32)
    ids = [vocabulary.marker("text.bos"), *vocabulary.to_global("text", local).tolist()]
    stop = [vocabulary.marker("text.eos")]
    grammar = Run.of(vocabulary, "text")
    (drawn,) = generate(subject.model, [ids], sampler=sampler, key=key, max_new=tokens, stop=stop, grammar=grammar)
    return subject.tokenizer.decode(vocabulary.to_local("text", drawn).tolist())
