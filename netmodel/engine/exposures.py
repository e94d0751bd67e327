"""How far published ports are really reached, given everybody's rules on the host and not only ours."""

from __future__ import annotations

from drivers.api import Publishes
from drivers.bridge import Bridge
from drivers.bridge_rules import ANY
from drivers.elements import Opening, Port, Publication
from drivers.exposure import Exposure
from drivers.relayed import Relayed
from netmodel.engine.attach import Attachments, binding_of
from netmodel.engine.core import Core
from netmodel.engine.endpoints import as_driver
from netmodel.engine.networks import Networks
from netmodel.engine.routing import Joined
from netmodel.engine.values import PortExposure
from netmodel.model import Container, IPAddress, Network, PortConfig


class Exposures:
    """Looks at the rules as they are at the moment of asking."""

    def __init__(self, core: Core, networks: Networks, attachments: Attachments) -> None:
        self._core = core
        self._networks = networks
        self._attachments = attachments

    def of(self, container: Container) -> list[PortExposure]:
        """One for each published port and address family; none of a container that does not run."""
        link = self._link(container)
        if link is None:
            return []
        seen = self._bridge.look_around()
        network, endpoint = self._networks.as_driver(link.network), as_driver(link.endpoint)
        found = []
        for port in container.ports:
            ways = self._bridge.exposures(seen, network, endpoint, binding_of(port))
            translated = {reached.target.version for reached, _ in ways if isinstance(reached, Publication)}
            # What is open at the container's own address is told where no port of the host leads there.
            found += [
                _exposure(port, reached, exposure)
                for reached, exposure in ways
                if not (isinstance(reached, Opening) and reached.target.version in translated)
            ]
        return found

    def missing(self, container: Container) -> list[str]:
        """Why none of the ports that were asked for will be published; nothing where they will be."""
        mode = container.config.network_mode
        if not container.config.ports or mode not in ("bridge", "host", "none"):
            return []
        if mode != "bridge":
            return [f"ports are not published: network mode {mode} has none of its own"]
        ids = [endpoint.network_id for endpoint in self._core.records.endpoints_of(container.id)]
        networks = [network for network in map(self._core.records.networks.get, ids) if network is not None]
        if not networks or any(self._publishes(network) for network in networks):
            return []
        kinds = ["internal" if one.config.internal else one.config.driver for one in networks]
        those = ", ".join(f"{one.name} ({kind})" for one, kind in zip(networks, kinds, strict=True))
        way_out = "connect it to a bridge network that leads outside"
        return [f"ports are not published while it is on {those} alone: {way_out}"]

    def _publishes(self, network: Network) -> bool:
        driver = self._core.driver(network.config.driver)
        return isinstance(driver, Publishes) and (
            not network.config.internal or driver.publishes_to_host(self._networks.as_driver(network))
        )

    def published(self, container: Container) -> list[tuple[PortConfig, tuple[IPAddress, ...]]]:
        """Each published port with the host's addresses at which it is; whatever others' rules make of it.

        One that no port of the host leads to is at all of the families in which it is reached.
        """
        link = self._link(container)
        if link is None:
            return []
        network, endpoint = self._networks.as_driver(link.network), as_driver(link.endpoint)
        found = []
        each = self._bridge.reached(network, endpoint, map(binding_of, container.ports))
        for port, ways in zip(container.ports, each, strict=True):
            addresses = {_host_address(one) for one in ways if not _is_beside(port, one)}
            found.append((port, tuple(sorted(addresses, key=lambda one: one.version))))
        return found

    @property
    def _bridge(self) -> Bridge:
        bridge = self._core.drivers["bridge"]
        assert isinstance(bridge, Bridge)
        return bridge

    def _link(self, container: Container) -> Joined | None:
        """The attachment that its ports lead to."""
        link = self._attachments.publisher(container) if container.ports else None
        return link if link and self._core.driver(link.network.config.driver) is self._bridge else None


def _is_beside(port: PortConfig, reached: Port | Relayed) -> bool:
    """Whether it is open at the container's own address, beside what leads there by the host's."""
    return isinstance(reached, Opening) and bool(port.host_port)


def _host_address(reached: Port | Relayed) -> IPAddress:
    if isinstance(reached, Opening):
        return ANY[reached.target.version]
    if isinstance(reached, Relayed):
        return reached.host_address or ANY[reached.family or 6]
    return reached.host_address or ANY[reached.target.version]


def _exposure(port: PortConfig, reached: Port | Relayed, exposure: Exposure) -> PortExposure:
    if isinstance(reached, Opening):
        address, number = reached.target, reached.target_port
    else:
        address, number = _host_address(reached), reached.host_port
    return PortExposure(
        port=port,
        address=address,
        number=number,
        state=exposure.state,
        why=exposure.why,
        relayed=isinstance(reached, Relayed),
    )
