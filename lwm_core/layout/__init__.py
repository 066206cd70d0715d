"""Order of tokens over shards."""

from lwm_core.layout.base import AbstractLayout as AbstractLayout
from lwm_core.layout.contiguous import Contiguous as Contiguous
