"""Plans: whether a program fits a machine, checked by the machine's own compiler, wherever that machine is."""

from lwm_core.plan.estimate import Estimate as Estimate
from lwm_core.plan.fit import Fit as Fit
from lwm_core.plan.fit import fit as fit
from lwm_core.plan.fit import longest as longest
from lwm_core.plan.fit import ways as ways
from lwm_core.plan.machine import GENERATIONS as GENERATIONS
from lwm_core.plan.machine import SLICES as SLICES
from lwm_core.plan.machine import Machine as Machine
from lwm_core.plan.machine import machine as machine
from lwm_core.plan.plan import Plan as Plan
from lwm_core.plan.plan import plan as plan
from lwm_core.plan.refuse import DoesNotFit as DoesNotFit
from lwm_core.plan.refuse import check_fits as check_fits
from lwm_core.plan.work import Serving as Serving
from lwm_core.plan.work import Training as Training
from lwm_core.plan.work import Work as Work
