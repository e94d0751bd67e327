"""How far published ports are really reached, given everybody's rules on the host and not only ours."""

from __future__ import annotations

from drivers.bridge import Bridge
from drivers.bridge_rules import ANY
from drivers.exposure import Exposure
from drivers.firewall import Opening, Port
from drivers.relayed import Relayed
from netmodel.engine.attach import Attachments, binding_of
from netmodel.engine.core import Core
from netmodel.engine.endpoints import as_driver
from netmodel.engine.networks import Networks
from netmodel.engine.values import PortExposure
from netmodel.model import Container, PortConfig


class Exposures:
    """Looks at the rules as they are at the moment of asking."""

    def __init__(self, core: Core, networks: Networks, attachments: Attachments) -> None:
        self._core = core
        self._networks = networks
        self._attachments = attachments

    def of(self, container: Container) -> list[PortExposure]:
        """One for each published port and address family; none of a container that does not run."""
        bridge = self._core.drivers["bridge"]
        assert isinstance(bridge, Bridge)
        link = self._attachments.publisher(container) if container.ports else None
        if link is None or self._core.driver(link.network.config.driver) is not bridge:
            return []
        seen = bridge.look_around()
        network, endpoint = self._networks.as_driver(link.network), as_driver(link.endpoint)
        return [
            _exposure(port, reached, exposure)
            for port in container.ports
            for reached, exposure in bridge.exposures(seen, network, endpoint, binding_of(port))
            if not (isinstance(reached, Opening) and port.host_port)  # beside what leads there by the host's address
        ]


def _exposure(port: PortConfig, reached: Port | Relayed, exposure: Exposure) -> PortExposure:
    if isinstance(reached, Opening):
        address, number = reached.target, reached.target_port
    elif isinstance(reached, Relayed):
        address, number = reached.host_address or ANY[reached.family or 6], reached.host_port
    else:
        address, number = reached.host_address or ANY[reached.target.version], reached.host_port
    return PortExposure(
        port=port,
        address=address,
        number=number,
        state=exposure.state,
        why=exposure.why,
        relayed=isinstance(reached, Relayed),
    )
