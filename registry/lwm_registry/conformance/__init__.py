"""Checks over everything that a plugin offers: `python -m lwm_registry.conformance NAME`."""
