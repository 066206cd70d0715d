"""Text tokenizers."""

from lwm_core.text.base import TextTokenizer as TextTokenizer
from lwm_core.text.bytes import ByteTokenizer as ByteTokenizer
