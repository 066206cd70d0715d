"""Attention: coordinates, interfaces, the dense oracle, the blockwise kernel and one-shard attention."""

from lwm_core.attention.base import AbstractAttention as AbstractAttention
from lwm_core.attention.base import AbstractBlockKernel as AbstractBlockKernel
from lwm_core.attention.base import AttentionSite as AttentionSite
from lwm_core.attention.base import BlockGrads as BlockGrads
from lwm_core.attention.base import BlockOut as BlockOut
from lwm_core.attention.base import Support as Support
from lwm_core.attention.base import UnsupportedSite as UnsupportedSite
from lwm_core.attention.base import require as require
from lwm_core.attention.coords import TokenCoords as TokenCoords
from lwm_core.attention.coords import Visibility as Visibility
from lwm_core.attention.dense import DenseAttention as DenseAttention
