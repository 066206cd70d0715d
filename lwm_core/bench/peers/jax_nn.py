"""`jax.nn.dot_product_attention` as a contender, in the implementation that XLA compiles everywhere.

Owns the translation of a case into its arguments. It materialises all scores, so memory bounds its length.
"""

from dataclasses import dataclass

import jax

from lwm_core.attention import Support
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Entry, compiled, devices_support


@dataclass(frozen=True)
class JaxNN:
    """`jax.nn.dot_product_attention(implementation="xla")` on one device."""

    name: str = "jax-nn-xla"
    package: str = "jax"
    note: str = ""

    def supports(self, case: Case) -> Support:
        if case.devices > 1:
            return Support(False, "it is measured on one device; it does not spread a sequence.")
        return devices_support(case)

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        reach = (case.rule.window - 1, 0) if case.rule.window else None

        def attention(q, k, v, *segment):
            mask = segment[0][:, None, :, None] == segment[0][:, None, None, :] if segment else None
            return jax.nn.dot_product_attention(
                q, k, v, mask=mask, is_causal=True, local_window_size=reach, implementation="xla"
            )

        extras = [(inputs.segment, ("batch", None))] if case.packed else []
        return compiled(attention, case, inputs, extras, mesh=None, backward=backward)
