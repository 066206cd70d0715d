"""The VQGAN: network, tokenizer, weight files and training."""
