"""Attention: coordinates, interfaces, the dense oracle, the blockwise kernel and one-shard attention."""

from lwm_core.attention.attend import Schedule as Schedule
from lwm_core.attention.attend import attend as attend
from lwm_core.attention.base import AbstractAttention as AbstractAttention
from lwm_core.attention.base import AbstractBlockKernel as AbstractBlockKernel
from lwm_core.attention.base import AbstractRunningKernel as AbstractRunningKernel
from lwm_core.attention.base import AttentionSite as AttentionSite
from lwm_core.attention.base import BlockGrads as BlockGrads
from lwm_core.attention.base import BlockOut as BlockOut
from lwm_core.attention.base import Support as Support
from lwm_core.attention.base import UnsupportedSite as UnsupportedSite
from lwm_core.attention.base import require as require
from lwm_core.attention.blockwise import BlockwiseKernel as BlockwiseKernel
from lwm_core.attention.coords import Extent as Extent
from lwm_core.attention.coords import TokenCoords as TokenCoords
from lwm_core.attention.coords import Visibility as Visibility
from lwm_core.attention.dense import DenseAttention as DenseAttention
from lwm_core.attention.extent import any_visible as any_visible
from lwm_core.attention.extent import visible_blocks as visible_blocks
from lwm_core.attention.local import LocalAttention as LocalAttention
from lwm_core.attention.merge import Running as Running
from lwm_core.attention.merge import accumulator as accumulator
from lwm_core.attention.merge import merge as merge
from lwm_core.attention.merge import merge_over as merge_over
from lwm_core.attention.placement import Placement as Placement
from lwm_core.attention.placement import heads_support as heads_support
from lwm_core.attention.placement import shard_site as shard_site
