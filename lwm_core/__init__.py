"""The typed core: what each part of a long-context world model is, with one reference part for each.

Owns interfaces, reference implementations and conformance kits. It knows nothing of plugins: it never
imports pluggy, `lwm_registry` or any `lwm_<plugin>`; those find it, not the other way round.
"""
