"""Checkpoints through Orbax: asynchronous, sharded, restorable onto another mesh."""
