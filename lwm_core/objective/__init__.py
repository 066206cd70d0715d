"""Objectives: what training makes small."""

from lwm_core.objective.base import AbstractObjective as AbstractObjective
from lwm_core.objective.base import Batch as Batch
from lwm_core.objective.base import Loss as Loss
from lwm_core.objective.base import NamesModalities as NamesModalities
from lwm_core.objective.base import Origin as Origin
from lwm_core.objective.base import Part as Part
from lwm_core.objective.cross_entropy import CrossEntropy as CrossEntropy
from lwm_core.objective.parts import parts_of as parts_of
from lwm_core.objective.released import ReleasedCrossEntropy as ReleasedCrossEntropy
