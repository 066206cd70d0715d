"""Attention over a sequence that is spread over devices: ring, all-gather, Ulysses, and spread decoding."""
