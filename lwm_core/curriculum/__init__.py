"""Stages and their order, what is published of them, and how the rotary base grows."""

from lwm_core.curriculum.figure import Figure as Figure
from lwm_core.curriculum.figure import Published as Published
from lwm_core.curriculum.figure import Trust as Trust
from lwm_core.curriculum.stage import Curriculum as Curriculum
from lwm_core.curriculum.stage import Stage as Stage
from lwm_core.curriculum.staged import StagedCurriculum as StagedCurriculum
from lwm_core.curriculum.staged import check_stages as check_stages
from lwm_core.curriculum.theta import PowerLaw as PowerLaw
from lwm_core.curriculum.theta import auto_theta as auto_theta
from lwm_core.curriculum.theta import ntk_theta as ntk_theta
