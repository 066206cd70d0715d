"""Sampling: samplers, grammars over the id space, classifier-free guidance, and the decode loop."""

from lwm_core.sample.base import AbstractSampler as AbstractSampler
from lwm_core.sample.by_modality import ByModality as ByModality
from lwm_core.sample.frames import generate_frames as generate_frames
from lwm_core.sample.generate import generate as generate
from lwm_core.sample.grammar import AbstractGrammar as AbstractGrammar
from lwm_core.sample.grammar import Frames as Frames
from lwm_core.sample.grammar import Interleave as Interleave
from lwm_core.sample.grammar import Run as Run
from lwm_core.sample.grammar import Within as Within
from lwm_core.sample.guidance import Guidance as Guidance
from lwm_core.sample.guidance import guide as guide
from lwm_core.sample.samplers import Categorical as Categorical
from lwm_core.sample.samplers import Greedy as Greedy
from lwm_core.sample.session import Session as Session
