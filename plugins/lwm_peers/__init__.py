"""Fused attentions of others, as whole attentions: cuDNN's and tokamax's."""
