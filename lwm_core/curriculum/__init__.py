"""Stages and their order."""

from lwm_core.curriculum.stage import Curriculum as Curriculum
from lwm_core.curriculum.stage import Stage as Stage
from lwm_core.curriculum.staged import StagedCurriculum as StagedCurriculum
from lwm_core.curriculum.staged import check_stages as check_stages
