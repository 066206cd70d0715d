"""Order of tokens over shards."""

from lwm_core.layout.base import AbstractLayout as AbstractLayout
from lwm_core.layout.contiguous import Contiguous as Contiguous
from lwm_core.layout.striped import Striped as Striped
from lwm_core.layout.zigzag import Zigzag as Zigzag
