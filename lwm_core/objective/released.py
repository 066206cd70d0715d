"""The loss that LWM's released code computes, and the one its paper describes: for parity with its figures.

Owns how an example is averaged. Source: LWM train.py and tux loss.py: the mean over rows of each row's mean over its
targets, apart for vision and text, and half the sum of both. The paper's masked packing (§3.2 in v4) is to equal
that on rows that hold one example each, padded.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention.coords import Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective, Batch, Loss
from lwm_core.objective.parts import parts_of
from lwm_core.objective.scores import Mask, check_choice, check_chunk, score
from lwm_core.vocab import Vocabulary


FLOOR = 1e-10  # of a row's number of targets, as released


class ReleasedCrossEntropy(AbstractObjective):
    """(1/N) Σ over N examples, (1/M) Σ over M modalities, of the mean over the example's targets of that modality.

    The defaults are the released code's. `example="segment", mask="segment"` is the paper's masked packing; give the
    packer `weighting="token"`, so that weights are the loss mask.

    - `example`: a "row", whatever it holds, or a "segment" of it;
    - `absent`: an example without a modality "counts" as 0 (in a batch of pure text the loss is halved), or is
      "omitted" from that modality's sum and number;
    - `mask`: "none", as released, lets a token see all of its row before it; "segment" only its own document;
    - `chunk`, `rule`: as in `CrossEntropy`. Softmax is within a target's modality: LWM has a head for each.
    """

    example: Literal["row", "segment"] = eqx.field(static=True, default="row")
    absent: Literal["counts", "omitted"] = eqx.field(static=True, default="counts")
    mask: Mask = eqx.field(static=True, default="none")
    chunk: int = eqx.field(static=True, default=1024)
    rule: Visibility = Visibility()

    def __check_init__(self):
        name = "ReleasedCrossEntropy"
        check_chunk(name, self.chunk)
        check_choice(name, "example", self.example, ("row", "segment"))
        check_choice(name, "absent", self.absent, ("counts", "omitted"))
        check_choice(name, "mask", self.mask, ("none", "segment"))

    def __call__(self, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary) -> Loss:
        found = score(
            model, batch, vocabulary, rule=self.rule, mask=self.mask, normalise="per-modality", chunk=self.chunk
        )
        weights, examples = self._weights(batch, vocabulary)
        denominator = weights.sum() if self.absent == "omitted" else examples.astype(jnp.float32)
        return Loss((weights * found.loss).sum(), denominator, parts_of(batch, found.loss, vocabulary))

    def _weights(self, batch: Batch, vocabulary: Vocabulary):
        """1/M over the targets of its modality in its example, for each target; and the number of examples."""
        rows, length = batch.tokens.shape
        stops = np.cumsum([m.size for m in vocabulary.modalities])
        example = batch.at.segment if self.example == "segment" else jnp.zeros_like(batch.at.segment)
        group = example * len(stops) + jnp.searchsorted(stops, batch.targets, side="right")
        count = (length + 1 if self.example == "segment" else 1) * len(stops)
        sums = jax.vmap(lambda w, g: jax.ops.segment_sum(w, g, count))(batch.weights, group)
        own = jnp.take_along_axis(sums, group, axis=1)
        examples = jnp.asarray(rows)
        if self.example == "segment":  # numbered 1, 2, ... in each row
            examples = batch.at.segment.max(axis=1).sum()
        return batch.weights / (len(stops) * jnp.maximum(own, FLOOR)), examples
