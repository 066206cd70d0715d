"""Checkpoints through Orbax keep the contract, and say what is missing, full or damaged."""

import jax.numpy as jnp

from lwm_core.checkpoint import Manifest
from lwm_core.testing.checkpoint import check_checkpoint
from lwm_orbax.format import OrbaxCheckpoint


TREE = {"w": jnp.arange(6.0)}


def manifest(step):
    return Manifest(step, "s", step, 1e4, ())


def test_keeps_the_contract_in_the_background():
    check_checkpoint(OrbaxCheckpoint())
