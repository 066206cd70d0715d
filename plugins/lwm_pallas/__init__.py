"""Block kernels in Pallas."""
