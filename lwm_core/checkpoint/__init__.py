"""Checkpoints: the format's interface, what formats of files share, and the safetensors reference."""

from lwm_core.checkpoint.base import CheckpointError as CheckpointError
from lwm_core.checkpoint.base import CheckpointFormat as CheckpointFormat
from lwm_core.checkpoint.base import Manifest as Manifest
from lwm_core.checkpoint.base import MisfitError as MisfitError
from lwm_core.checkpoint.safetensors import SafetensorsCheckpoint as SafetensorsCheckpoint
