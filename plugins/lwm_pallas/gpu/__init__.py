"""The block kernel for NVIDIA Hopper, in Pallas' Mosaic GPU dialect."""
