"""The stream of training rows over Grain."""

from lwm_core.load.stream import Stream as Stream
