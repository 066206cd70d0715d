"""A run of several processes: how they find each other, what they tell each other, and what they hand on."""

from lwm_core.processes.base import ProcessesError as ProcessesError
from lwm_core.processes.join import Joined as Joined
from lwm_core.processes.join import Manual as Manual
from lwm_core.processes.join import evident as evident
from lwm_core.processes.join import join as join
from lwm_core.processes.join import joined as joined
