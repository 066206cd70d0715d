"""The device mesh: its axes, and where logical axes lie on it."""

from lwm_core.mesh.ahead import compile_ahead as compile_ahead
from lwm_core.mesh.ahead import tpu_devices as tpu_devices
from lwm_core.mesh.axes import AXES as AXES
from lwm_core.mesh.axes import BATCH as BATCH
from lwm_core.mesh.axes import EMBED as EMBED
from lwm_core.mesh.axes import HEADS as HEADS
from lwm_core.mesh.axes import SEQUENCE as SEQUENCE
from lwm_core.mesh.axes import constrain as constrain
from lwm_core.mesh.axes import partition as partition
from lwm_core.mesh.axes import pieces as pieces
from lwm_core.mesh.axes import platform as platform
from lwm_core.mesh.axes import sharding as sharding
from lwm_core.mesh.declared import Rules as Rules
from lwm_core.mesh.declared import logical as logical
from lwm_core.mesh.placement import gathered as gathered
from lwm_core.mesh.placement import made as made
from lwm_core.mesh.placement import outlined as outlined
from lwm_core.mesh.placement import placed as placed
from lwm_core.mesh.placement import shardings as shardings
from lwm_core.mesh.placement import spread as spread
from lwm_core.mesh.placement import whole as whole
from lwm_core.mesh.spec import MeshSpec as MeshSpec
