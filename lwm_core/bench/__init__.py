"""Measuring attention side by side: cases, contenders, counted work and bytes, interleaved times."""

from lwm_core.bench.case import CASES as CASES
from lwm_core.bench.case import Case as Case
from lwm_core.bench.contender import Contender as Contender
from lwm_core.bench.contender import Entry as Entry
from lwm_core.bench.contender import PartContender as PartContender
from lwm_core.bench.contest import Contest as Contest
from lwm_core.bench.contest import contest as contest
