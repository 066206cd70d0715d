"""Text tokenizers."""

from lwm_core.text.base import EncodesMany as EncodesMany
from lwm_core.text.base import TextTokenizer as TextTokenizer
from lwm_core.text.base import encode_many as encode_many
from lwm_core.text.bytes import ByteTokenizer as ByteTokenizer
