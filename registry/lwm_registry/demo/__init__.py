"""The demo: the whole job on real input, measured, with a report that a person can look at."""

from lwm_registry.demo.run import run as run
