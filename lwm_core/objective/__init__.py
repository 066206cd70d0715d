"""Objectives: what training makes small."""

from lwm_core.objective.base import AbstractObjective as AbstractObjective
from lwm_core.objective.base import Batch as Batch
from lwm_core.objective.base import Loss as Loss
from lwm_core.objective.cross_entropy import CrossEntropy as CrossEntropy
