"""Sampling: samplers, grammars over the id space, guidance, the decode loop; pictures, clips and conversations."""

from lwm_core.sample.base import AbstractSampler as AbstractSampler
from lwm_core.sample.by_modality import ByModality as ByModality
from lwm_core.sample.chat import Conversation as Conversation
from lwm_core.sample.frames import generate_clips as generate_clips
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
from lwm_core.sample.wording import Wording as Wording
from lwm_core.sample.wording import wording_of as wording_of
from lwm_core.sample.world import Clip as Clip
from lwm_core.sample.world import draw_clips as draw_clips
from lwm_core.sample.world import generate_any as generate_any
from lwm_core.sample.world import generate_image as generate_image
from lwm_core.sample.world import generate_video as generate_video
