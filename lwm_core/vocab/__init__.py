"""One id space for every modality."""

from lwm_core.vocab.vocabulary import Modality as Modality
from lwm_core.vocab.vocabulary import Vocabulary as Vocabulary
