"""Every hook that a plugin may implement, each with an example. Standard library and pluggy only."""

from collections.abc import Iterable

import pluggy

from lwm_registry.records import Component


GROUP = "lwm"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def lwm_components() -> Iterable[Component]:
    """The parts this plugin offers.

    Example::

        @hookimpl
        def lwm_components():
            yield Component("attention", "ring", "lwm_ring.ring:RingAttention", "Ring over a block kernel.")
    """
    return ()
