"""Whether a contender computed attention at all: some queries against the definition in float64.

Owns the check that goes with every time, so that no fast wrong answer is reported as fast. It is a sample; the
conformance kits check the parts properly.
"""

import numpy as np

from lwm_core.bench.case import Case, Inputs


class Truth:
    """Outputs and query gradients of evenly spread queries, by the definition, in numpy float64."""

    def __init__(self, case: Case, inputs: Inputs, queries: int = 32):
        self.chosen = np.unique(np.linspace(0, case.length - 1, queries).astype(int))
        q, dout = (self._rounded(x[:, self.chosen], case) for x in (inputs.q, inputs.dout))
        k, v = (self._rounded(x, case).repeat(case.heads // case.kv_heads, axis=2) for x in (inputs.k, inputs.v))
        scale = case.head_dim**-0.5
        scores = np.where(self._seen(case, inputs), np.einsum("bthd,bshd->bhts", q, k) * scale, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        self.out = np.einsum("bhts,bshd->bthd", weights, v)
        sway = np.einsum("bthd,bshd->bhts", dout, v)
        dscores = weights * (sway - (weights * sway).sum(axis=-1, keepdims=True))
        self.dq = np.einsum("bhts,bshd->bthd", dscores, k) * scale

    def error(self, got: np.ndarray, *, backward: bool) -> float:
        """The largest difference over the largest true value, of the outputs or of the query gradients."""
        true = self.dq if backward else self.out
        return float(np.abs(np.asarray(got)[:, self.chosen].astype(np.float64) - true).max() / np.abs(true).max())

    def _seen(self, case: Case, inputs: Inputs) -> np.ndarray:
        i, j = inputs.position[:, self.chosen, None], inputs.position[:, None, :]
        seen = (inputs.segment[:, self.chosen, None] == inputs.segment[:, None, :]) & (j <= i)
        if case.rule.window is not None:
            seen &= i - j < case.rule.window
        return seen[:, None]

    @staticmethod
    def _rounded(x: np.ndarray, case: Case) -> np.ndarray:
        """What is left of the inputs in the case's dtype: rounding them is no contender's error."""
        import jax.numpy as jnp

        return np.asarray(x.astype(jnp.dtype(case.dtype))).astype(np.float64)
