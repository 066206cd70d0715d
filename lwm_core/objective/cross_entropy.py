"""Next-token cross-entropy: the weighted mean over all targets of a step.

Owns how a modality's weight enters and what is divided by what. The weight of each target within its document comes
with the batch; scores, a chunk at a time, are `scores`'s.
"""

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from lwm_core.attention.coords import Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective, Batch, Loss, Part
from lwm_core.objective.parts import parts_of
from lwm_core.objective.scores import Mask, Normalise, Scored, check_choice, check_chunk, score
from lwm_core.vocab import Vocabulary


class CrossEntropy(AbstractObjective):
    """Σ w·a·ce / Σ w·a over the targets of a step: negative log-likelihood ce in float32, the packer's weight a, and
    the weight w of the target's modality. A modality that is absent adds to neither sum, so it dilutes nothing.

    - `chunk`: tokens of each row, on each device, whose scores exist at a time;
    - `normalise`: "joint" lets the model choose the modality itself; "per-modality" compares a target only with
      ids of its own modality (LWM's released heads);
    - `z_loss`: coefficient of log²(sum of exp scores), which keeps scores from drifting (PaLM, §5); it is in the
      loss and a part of its own, `loss/z-loss`;
    - `rule`: which tokens of its document a token may see while training;
    - `modality_weights`: modality → w, 1 where it is not named; `{vision = 0.5}`. Parts are reported without it;
    - `mask`: "segment" keeps the documents of a row apart; "none" is naive packing: a token sees all of its row
      before it and positions run on, as in LWM's released code. A document's first token is no target either way
      (nor is it there: its begin marker has no loss).
    """

    chunk: int = eqx.field(static=True, default=1024)
    normalise: Normalise = eqx.field(static=True, default="joint")
    z_loss: float = eqx.field(static=True, default=0.0)
    rule: Visibility = Visibility()
    modality_weights: Mapping[str, float] = eqx.field(default_factory=dict)
    mask: Mask = eqx.field(static=True, default="segment")

    def __check_init__(self):
        check_chunk("CrossEntropy", self.chunk)
        check_choice("CrossEntropy", "normalise", self.normalise, ("joint", "per-modality"))
        check_choice("CrossEntropy", "mask", self.mask, ("segment", "none"))
        for name, weight in self.modality_weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"CrossEntropy(modality_weights={{{name}: {weight}}}): give a number >= 0.")

    def __call__(self, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary) -> Loss:
        found = score(
            model, batch, vocabulary, rule=self.rule, mask=self.mask, normalise=self.normalise, chunk=self.chunk
        )
        weights = batch.weights.astype(jnp.float32) * self._modality_weight(batch, vocabulary)
        total = (weights * (found.loss + self.z_loss * found.log_z**2)).sum()
        return Loss(total, weights.sum(), parts_of(batch, found.loss, vocabulary) | self._penalty(batch, found))

    def _penalty(self, batch: Batch, found: Scored) -> dict[str, Part]:
        """The z-loss as a part of its own, where there is one."""
        if not self.z_loss:
            return {}
        squares, weights = jax.lax.stop_gradient((self.z_loss * found.log_z**2, batch.weights))
        return {"z-loss": Part((weights * squares).sum(), weights.sum(), (weights > 0).sum(dtype=jnp.int32))}

    def modalities_named(self) -> tuple[str, ...]:
        return tuple(self.modality_weights)

    def _modality_weight(self, batch: Batch, vocabulary: Vocabulary) -> Float32[Array, "B T"] | float:
        if not any(name in self.modality_weights for name in vocabulary.names):
            return 1.0
        stops = np.cumsum([m.size for m in vocabulary.modalities])
        table = jnp.stack([jnp.asarray(self.modality_weights.get(n, 1.0), jnp.float32) for n in vocabulary.names])
        return table[jnp.searchsorted(stops, batch.targets, side="right")]
