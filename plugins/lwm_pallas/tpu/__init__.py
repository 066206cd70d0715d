"""The block kernel for TPUs."""
