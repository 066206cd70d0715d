"""Next-token cross-entropy, a chunk of tokens at a time.

No B×T×V array exists in the forward pass or the backward: each chunk's scores are made, used and recomputed.
Softmax runs over the whole id space or, as LWM's two heads were trained, within the target's own modality.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention.coords import Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.objective.base import AbstractObjective, Batch, Loss
from lwm_core.vocab import Vocabulary


class CrossEntropy(AbstractObjective):
    """Weighted negative log-likelihood of the targets, in float32.

    - `chunk`: tokens of each row whose scores exist at a time;
    - `normalise`: "joint" lets the model choose the modality itself; "per-modality" compares a target only with
      ids of its own modality (LWM's released heads);
    - `z_loss`: coefficient of log²(sum of exp scores), which keeps scores from drifting (PaLM, §5);
    - `rule`: which tokens a token may see while training.
    """

    chunk: int = eqx.field(static=True, default=1024)
    normalise: Literal["joint", "per-modality"] = eqx.field(static=True, default="joint")
    z_loss: float = eqx.field(static=True, default=0.0)
    rule: Visibility = Visibility()

    def __check_init__(self):
        if self.chunk < 1:
            raise ValueError(f"CrossEntropy(chunk={self.chunk}): give a positive number of tokens.")

    def __call__(self, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary) -> Loss:
        states = model.hidden(batch.tokens, batch.at, self.rule).states
        batch_size, length, _ = states.shape
        chunk = min(self.chunk, length)
        pad = -length % chunk

        def chunks(x):
            # Strided, so that a chunk takes its share of every sequence shard and none has to be gathered.
            x = jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2))
            return jnp.moveaxis(x.reshape(batch_size, chunk, -1, *x.shape[2:]), 2, 0)

        # Scanning rather than mapping keeps one running sum per part instead of one loss per token.
        stops = np.cumsum([m.size for m in vocabulary.modalities])
        zero = (jnp.zeros(()), jnp.zeros((len(stops), 2)))
        weights = batch.weights.astype(jnp.float32)
        step = jax.checkpoint(lambda sums, x: self._add(model, stops, sums, x))
        (total, parts), _ = jax.lax.scan(step, zero, (chunks(states), chunks(batch.targets), chunks(weights)))
        names = vocabulary.names
        return Loss(total, weights.sum(), {n: (parts[i, 0], parts[i, 1]) for i, n in enumerate(names)})

    def _add(self, model, stops, sums, now):
        """Running sums with one chunk of every row added."""
        total, parts = sums
        states, targets, weights = now
        logits = model.logits(states).astype(jnp.float32)
        modality = jnp.searchsorted(stops, targets, side="right")
        if self.normalise == "per-modality":
            own = jnp.searchsorted(stops, jnp.arange(logits.shape[-1]), side="right") == modality[..., None]
            logits = jnp.where(own, logits, -jnp.inf)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        loss = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        loss, log_z = jnp.where(weights > 0, loss, 0), jnp.where(weights > 0, log_z, 0)
        picked = jax.nn.one_hot(modality, len(stops)) * weights[..., None]
        added = jnp.stack([(picked * loss[..., None]).sum((0, 1)), picked.sum((0, 1))], axis=-1)
        return (total + (weights * (loss + self.z_loss * log_z**2)).sum(), parts + added), None
