"""Documents, samples, rows: the host side of data, without JAX."""

from lwm_core.data.apart import ApartPacker as ApartPacker
from lwm_core.data.base import DataSource as DataSource
from lwm_core.data.base import Document as Document
from lwm_core.data.base import Packer as Packer
from lwm_core.data.base import Row as Row
from lwm_core.data.base import Sample as Sample
from lwm_core.data.base import Span as Span
from lwm_core.data.best_fit import BestFitPacker as BestFitPacker
from lwm_core.data.chat import Chat as Chat
from lwm_core.data.chat import Message as Message
from lwm_core.data.documents import Documents as Documents
from lwm_core.data.filtered import Filtered as Filtered
from lwm_core.data.first_fit import FirstFitPacker as FirstFitPacker
from lwm_core.data.jsonl import Jsonl as Jsonl
from lwm_core.data.padding import PaddingPacker as PaddingPacker
from lwm_core.data.problems import BadRecord as BadRecord
from lwm_core.data.problems import LeftOut as LeftOut
from lwm_core.data.quota import QuotaPacker as QuotaPacker
from lwm_core.data.records import Field as Field
from lwm_core.data.records import Records as Records
from lwm_core.data.render import Renderer as Renderer
from lwm_core.data.sequential import SequentialPacker as SequentialPacker
from lwm_core.data.text_files import TextFiles as TextFiles
