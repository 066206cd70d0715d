"""Text tokenizers and chat wording."""

from lwm_text.bpe import BPETokenizer as BPETokenizer
from lwm_text.chat import chat as chat
from lwm_text.chat import prompt as prompt
