"""Vision: the tokenizer interface and its toy reference, frames in files, frames as ids, clips as documents."""

from lwm_core.vision.base import AbstractVisionFamily as AbstractVisionFamily
from lwm_core.vision.base import AbstractVisionTokenizer as AbstractVisionTokenizer
from lwm_core.vision.patch_mean import PatchMean as PatchMean
from lwm_core.vision.patch_mean import PatchMeanFamily as PatchMeanFamily
from lwm_core.vision.tokens import frames_to_ids as frames_to_ids
from lwm_core.vision.tokens import ids_to_frames as ids_to_frames
from lwm_core.vision.tokens import vision_modality as vision_modality
