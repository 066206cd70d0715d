"""One conformance kit per interface: `lwm_core.testing.<kind>.check_<kind>(part)` raises `AssertionError`."""
