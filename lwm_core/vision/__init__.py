"""Vision tokenizers."""

from lwm_core.vision.base import AbstractVisionFamily as AbstractVisionFamily
from lwm_core.vision.base import AbstractVisionTokenizer as AbstractVisionTokenizer
