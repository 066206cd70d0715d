"""Sequence models: interfaces, the reference transformer, rotary positions, the cache."""

from lwm_core.model.base import AbstractModelFamily as AbstractModelFamily
from lwm_core.model.base import AbstractSequenceModel as AbstractSequenceModel
from lwm_core.model.base import Hidden as Hidden
from lwm_core.model.cache import CacheDtype as CacheDtype
from lwm_core.model.cache import KVCache as KVCache
from lwm_core.model.family import TransformerFamily as TransformerFamily
from lwm_core.model.remat import Remat as Remat
from lwm_core.model.rope import AbstractRope as AbstractRope
from lwm_core.model.rope import Rotary as Rotary
from lwm_core.model.rope_scaling import AbstractScaledRope as AbstractScaledRope
from lwm_core.model.rope_scaling import DynamicNTKRope as DynamicNTKRope
from lwm_core.model.rope_scaling import LinearRope as LinearRope
from lwm_core.model.rope_scaling import Llama3Rope as Llama3Rope
from lwm_core.model.rope_scaling import NTKRope as NTKRope
from lwm_core.model.rope_scaling import YarnRope as YarnRope
from lwm_core.model.transformer import Transformer as Transformer
