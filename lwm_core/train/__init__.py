"""Training: rows to batches, the step, the run and its events."""
