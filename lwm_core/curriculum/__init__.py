"""Stages and their order."""

from lwm_core.curriculum.stage import Curriculum as Curriculum
from lwm_core.curriculum.stage import Stage as Stage
