"""Documents, samples, rows: the host side of data, without JAX."""

from lwm_core.data.base import DataSource as DataSource
from lwm_core.data.base import Document as Document
from lwm_core.data.base import Packer as Packer
from lwm_core.data.base import Row as Row
from lwm_core.data.base import Sample as Sample
from lwm_core.data.base import Span as Span
