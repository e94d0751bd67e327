"""How an engine ends: containers run on; when none runs, nothing of us stays in the kernel.

What is taken down here is what recovery makes again: bridges, rules, namespaces of stopped
containers. The records stay.
"""

from __future__ import annotations

from contextlib import suppress

from netmodel.engine.core import Core
from netmodel.engine.networks import Networks
from netmodel.engine.undo import every_step
from runtime.errors import RuntimeFault


def pack_up(core: Core, networks: Networks) -> None:
    """Take down what serves nobody while no container runs."""
    try:
        if core.spawner.status():
            return
        for name in core.spawner.pins():
            core.spawner.unpin(name)
    except RuntimeFault:
        return  # the spawner died; the next engine looks after what is left
    with every_step("cannot take down all that serves nobody") as step:
        for network in core.records.networks:
            with step:
                core.driver(network.config.driver).delete_network(networks.as_driver(network))
        with step:
            if not core.firewall.has_user_rules():
                core.firewall.uninstall()
        with step:
            # No container runs, so these are groups whose last process outlived an earlier attempt to delete them.
            for name in core.cgroups.names():
                group = core.cgroups.open(name)
                group.kill()
                group.delete()
            core.cgroups.remove_root()
        with step:
            core.confinement.default_profiles.unload()


def leave(core: Core) -> None:
    """Hang up; a spawner that has nothing to keep ends."""
    with suppress(RuntimeFault, OSError):
        if not core.spawner.status() and not core.spawner.pins():
            core.spawner.shutdown()
            return
    with suppress(OSError):
        core.spawner.close()
