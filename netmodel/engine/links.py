"""Legacy links: another name for another container, which one container alone knows.

On a network of the user's the name is looked up when somebody asks (netmodel.dns). On the default
network a link means the container that had that name when the link was made: its names stand in
/etc/hosts, and where the network keeps its containers apart, the ports that it exposes are let through.

Source: moby daemon/links.go, container_operations_unix.go. As there, no environment variables are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import drivers.api as driver_api
from drivers.api import KeepsApart, Pair
from drivers.kernel.errors import KernelError
from drivers.kernel.neighbour import add_neighbour
from drivers.kernel.netlink import Netlink
from netmodel.engine.core import Core
from netmodel.engine.networks import BRIDGE, Networks
from netmodel.engine.sandbox import Sandboxes
from netmodel.errors import Conflict, Invalid, NotFound
from netmodel.model import Container, ContainerConfig, Endpoint, EndpointConfig, LinkConfig


@dataclass(frozen=True, slots=True)
class Linked:
    """The other end of a link on the default network."""

    alias: str
    container: Container
    endpoint: Endpoint


def resolved(core: Core, config: ContainerConfig) -> ContainerConfig:
    """Name the containers of links on the default network by their ids: their names may change.

    Raises:
        Invalid: There is no such container, or it has no network of its own.
    """
    if not any(wish.links for wish in config.networks):
        return config
    return replace(config, networks=tuple(resolved_endpoint(core, wish) for wish in config.networks))


def resolved_endpoint(core: Core, wish: EndpointConfig) -> EndpointConfig:
    """The same for one attachment."""
    if not wish.links or core.records.networks.find(wish.network).name != BRIDGE:
        return wish
    links = tuple(replace(link, target=_target(core, link).id) for link in wish.links)
    return replace(wish, network=BRIDGE, links=links)


def _target(core: Core, link: LinkConfig) -> Container:
    try:
        found = core.records.containers.find(link.target)
    except NotFound as error:  # the docker CLI would take it for a missing image
        raise Invalid(f"cannot link to {link.target}: {error}", error.hint) from error
    if found.sandbox == "host":
        raise Invalid(f"cannot link to container {found.name}: its network is the host's", "reach it at host-gateway")
    owner = core.records.containers.get(found.sandbox)
    return owner or found


def target_ids(config: ContainerConfig) -> list[str]:
    """The containers that it is linked to on the default network, of a config that resolved() has gone over."""
    return [link.target for wish in config.networks if wish.network == BRIDGE for link in wish.links]


def linked(core: Core, endpoint: Endpoint) -> Iterator[Linked]:
    """What an endpoint on the default network is linked to; containers that are gone, or not on it, are left out."""
    if not endpoint.config.links or _network_name(core, endpoint) != BRIDGE:
        return
    for link in endpoint.config.links:
        container = core.records.containers.get(link.target)
        there = _on(core, link.target, endpoint.network_id)
        if container is not None and there is not None:
            yield Linked(link.alias, container, there)


def linking(core: Core, container_id: str) -> list[Container]:
    """Who is linked to a container on the default network."""
    network = core.records.networks.named(BRIDGE)
    found = [
        core.records.containers.get(one.container_id)
        for one in (core.records.endpoints_on(network.id) if network else ())
        if any(link.target == container_id for link in one.config.links)
    ]
    return [one for one in found if one is not None]


class Links:
    """Opens the ways of links where the default network keeps its containers apart."""

    def __init__(self, core: Core, networks: Networks, sandboxes: Sandboxes) -> None:
        self._core = core
        self._networks = networks
        self._sandboxes = sandboxes

    def check(self, container: Container) -> None:
        """Refuse to start one that is linked to what does not run."""
        for target_id in target_ids(container.config):
            other = self._core.records.containers.get(target_id)
            if other is None:
                continue  # its removal ended the link
            if not other.state.running:
                raise Conflict(
                    f"container {other.name}, which {container.name} is linked to, does not run", "start it first"
                )
            network = self._core.records.networks.named(BRIDGE)
            if network is not None and _on(self._core, other.id, network.id) is None:
                raise Conflict(
                    f"container {other.name}, which {container.name} is linked to, is not on network {BRIDGE}",
                    "connect it to that network, or have both on one of your own",
                )

    def open(self, endpoint: Endpoint) -> None:
        """Let through what its own links, and the links of others to it, mean; its link is in its sandbox."""
        driver, network = self._apart(endpoint)
        if driver is None:
            return
        mac = driver.detour(network)
        for end in self._ends(endpoint):
            other = end.target if end.source.id == endpoint.id else end.source
            self._teach(endpoint, other, mac)
            with suppress(KernelError, OSError):  # that one is ending
                self._teach(other, endpoint, mac)
            driver.allow(network, end.pairs)

    def close(self, endpoint: Endpoint) -> None:
        """Undo open(); what was never let through is no error."""
        driver, network = self._apart(endpoint)
        if driver is not None:
            driver.forbid(network, [pair for end in self._ends(endpoint) for pair in end.pairs])

    def unlink(self, container: Container, alias: str) -> tuple[Container, Endpoint]:
        """End one link: the record of it, and what it let through. The caller holds the container's lock.

        Raises:
            NotFound: It has no link of that name.
        """
        network = self._core.records.networks.named(BRIDGE)
        endpoint = _on(self._core, container.id, network.id) if network else None
        kept = [link for link in endpoint.config.links if link.alias != alias] if endpoint else []
        if network is None or endpoint is None or len(kept) == len(endpoint.config.links):
            raise NotFound(f"container {container.name} has no link {alias} on network {BRIDGE}")
        self.close(endpoint)
        links = tuple(kept)
        after = replace(endpoint, config=replace(endpoint.config, links=links))
        wishes = (replace(one, links=links) if one.network == BRIDGE else one for one in container.config.networks)
        container = replace(container, config=replace(container.config, networks=tuple(wishes)))
        self._core.records.put(container, after)
        sandbox = self._sandboxes.get(container.sandbox)
        if sandbox is not None and endpoint.id in sandbox.links:
            self._sandboxes.relink(sandbox, after)
            self.open(after)
        return container, after

    def allowed(self) -> list[Pair]:
        """All that is let through now, for a firewall that is made anew."""
        network = self._core.records.networks.named(BRIDGE)
        endpoints = self._core.records.endpoints_on(network.id) if network else []
        ends = [end for one in endpoints if self._runs(one) and self._apart(one)[0] for end in self._own_ends(one)]
        return [pair for end in ends for pair in end.pairs]

    def _apart(self, endpoint: Endpoint) -> tuple[KeepsApart | None, driver_api.Network[Any]]:
        """The driver of an endpoint on the default network, if that keeps its endpoints apart; and the network."""
        network = self._core.records.networks.get(endpoint.network_id)
        assert network is not None, "a network with endpoints is never removed"
        driver, as_driver = self._core.driver(network.config.driver), self._networks.as_driver(network)
        apart = network.name == BRIDGE and isinstance(driver, KeepsApart) and driver.keeps_apart(as_driver)
        return (driver if apart else None), as_driver  # type: ignore[return-value]

    def _ends(self, endpoint: Endpoint) -> list[_Ends]:
        """Its links, and those to it, whose other end runs."""
        container = self._core.records.containers.get(endpoint.container_id)
        if container is None:
            return []
        others = [
            other
            for other in self._core.records.endpoints_on(endpoint.network_id)
            if any(link.target == container.id for link in other.config.links) and self._runs(other)
        ]
        return [*self._own_ends(endpoint), *(_Ends(other, endpoint, container) for other in others)]

    def _own_ends(self, endpoint: Endpoint) -> list[_Ends]:
        found = [_Ends(endpoint, one.endpoint, one.container) for one in linked(self._core, endpoint)]
        return [one for one in found if self._runs(one.target)]

    def _runs(self, endpoint: Endpoint) -> bool:
        return any(one.state.running for one in self._core.records.sharers(endpoint.container_id))

    def _teach(self, endpoint: Endpoint, other: Endpoint, mac: str) -> None:
        """Have an endpoint send to another one by the detour."""
        sandbox = self._sandboxes.get(endpoint.container_id)
        index = sandbox.index(endpoint.interface) if sandbox is not None else None
        if sandbox is None or index is None:
            return
        with Netlink(sandbox.netns) as netlink:
            netlink.apply([add_neighbour(index, address.ip, mac) for address in other.addresses])


@dataclass(frozen=True, slots=True)
class _Ends:
    """Args:
    container: The target's.
    """

    source: Endpoint
    target: Endpoint
    container: Container

    @property
    def pairs(self) -> list[Pair]:
        config = self.container.config
        ports = dict.fromkeys((port.protocol, port.container_port) for port in (*config.exposed_ports, *config.ports))
        return [
            Pair(source=one.ip, target=other.ip, protocol=protocol, port=port)
            for one in self.source.addresses
            for other in self.target.addresses
            if one.version == other.version
            for protocol, port in ports
        ]


def _network_name(core: Core, endpoint: Endpoint) -> str:
    network = core.records.networks.get(endpoint.network_id)
    return network.name if network is not None else ""


def _on(core: Core, container_id: str, network_id: str) -> Endpoint | None:
    return next((one for one in core.records.endpoints_of(container_id) if one.network_id == network_id), None)
