"""Stages and their order, gates between them, what is published of them, and how the rotary base grows."""

from lwm_core.curriculum.figure import Figure as Figure
from lwm_core.curriculum.figure import Published as Published
from lwm_core.curriculum.figure import Trust as Trust
from lwm_core.curriculum.gate import VERDICTS as VERDICTS
from lwm_core.curriculum.gate import Advance as Advance
from lwm_core.curriculum.gate import Decision as Decision
from lwm_core.curriculum.gate import Evidence as Evidence
from lwm_core.curriculum.gate import Extend as Extend
from lwm_core.curriculum.gate import Fail as Fail
from lwm_core.curriculum.gate import Gate as Gate
from lwm_core.curriculum.gate import Gated as Gated
from lwm_core.curriculum.gate import GateFailed as GateFailed
from lwm_core.curriculum.gate import GateState as GateState
from lwm_core.curriculum.gate import RollBack as RollBack
from lwm_core.curriculum.gated import GatedCurriculum as GatedCurriculum
from lwm_core.curriculum.gated import Retry as Retry
from lwm_core.curriculum.gated import StageGates as StageGates
from lwm_core.curriculum.stage import Curriculum as Curriculum
from lwm_core.curriculum.stage import Stage as Stage
from lwm_core.curriculum.staged import StagedCurriculum as StagedCurriculum
from lwm_core.curriculum.staged import check_stages as check_stages
from lwm_core.curriculum.theta import PowerLaw as PowerLaw
from lwm_core.curriculum.theta import auto_theta as auto_theta
from lwm_core.curriculum.theta import ntk_theta as ntk_theta
