"""Text tokenizers."""

from lwm_core.text.base import TextTokenizer as TextTokenizer
