"""A container's sandbox: created by the spawner, joined to its networks, and left again.

A sandbox outlives the process: a restart finds its links as they were. It leaves its networks when
the last container in it has ended, and its namespace stays pinned until its owner is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from drivers.api import Carries, PortBinding, Publishes
from drivers.errors import PortInUse
from netmodel.engine.announcer import Announcer
from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints, as_driver, needs_announcement
from netmodel.engine.leases import Leases
from netmodel.engine.link_options import announcements
from netmodel.engine.links import Links
from netmodel.engine.networks import Networks
from netmodel.engine.routing import Joined, publishing_endpoint
from netmodel.engine.sandbox import Sandbox, Sandboxes
from netmodel.engine.undo import Undo, every_step
from netmodel.errors import Conflict
from netmodel.model import Container, Endpoint, PortConfig


class Attachments:
    """Joins and leaves whole sandboxes, and publishes their ports. The caller holds the container's lock."""

    def __init__(
        self,
        core: Core,
        networks: Networks,
        endpoints: Endpoints,
        sandboxes: Sandboxes,
        announcer: Announcer,
        leases: Leases,
    ) -> None:
        self._announcer = announcer
        self._core = core
        self._networks = networks
        self._endpoints = endpoints
        self._sandboxes = sandboxes
        self.links = Links(core, networks, sandboxes)
        self._leases = leases

    # --- links --------------------------------------------------------------------------------

    def predecessors(self, container: Container) -> list[str]:
        """The containers that it may have to take an address from when it starts."""
        mine = self._core.records.endpoints_of(container.id)
        lacking = (endpoint for endpoint in mine if not self._endpoints.is_whole(endpoint))
        return [one.container_id for endpoint in lacking for one in self._endpoints.predecessors(endpoint)]

    def claim(self, container: Container, inherit: bool) -> list[Endpoint]:
        """Get the owner of a sandbox all addresses that it is to have; returns its endpoints.

        Args:
            inherit: Also from predecessors(), whose locks the caller holds.
        """
        endpoints = []
        for endpoint in self._core.records.endpoints_of(container.id):
            if self._endpoints.is_whole(endpoint):
                endpoints.append(endpoint)
                continue
            with Undo() as undo:
                former = self._endpoints.predecessors(endpoint) if inherit else ()
                claimed = self._endpoints.claim(endpoint, undo, former)
                self._core.records.put(claimed)
                undo.pop_all()
            endpoints.append(claimed)
        return endpoints

    def join(self, container: Container, netns: Path, fresh: bool, undo: ExitStack) -> None:
        """Attach the owner of a sandbox to all its networks; one that is attached already stays so.

        Args:
            fresh: The namespace has just been made.
        """
        if fresh:
            undo.callback(self._abandon, container.sandbox)
        endpoints = self._core.records.endpoints_of(container.id)
        redirect = fresh and bool(endpoints)
        sandbox = self._sandboxes.open(container.sandbox, netns, container.config, redirect=redirect)
        if sandbox.links:
            return
        if not endpoints:
            return  # a loopback, and nothing else
        joined: dict[str, Joined] = {}
        # Registered first: what failed half-way is taken back as well.
        undo.callback(self.leave, container)
        for endpoint in sorted(endpoints, key=lambda one: -one.config.priority):
            joined[endpoint.id] = self._join_one(endpoint, netns)
        for key, link in joined.items():
            if link.network.config.leased:
                joined[key] = self._with_address(container, sandbox, link)
        self._sandboxes.configure(sandbox, [joined[one.id] for one in endpoints], container.config)
        for link in joined.values():
            self._endpoints.resolvable(container, link.endpoint)
            self.links.open(link.endpoint)
        for link in joined.values():
            self._networks.event("connect", link.network, container)

    def wait_until_carried(self, container: Container) -> None:
        """Return when what the sandbox sends arrives; tell the neighbours where its addresses are now."""
        sandbox = self._sandboxes.get(container.sandbox)
        if sandbox is not None:
            for link in sandbox.links.values():
                self.carry(link, sandbox)

    def carry(self, link: Joined, sandbox: Sandbox) -> None:
        """Do that for one link."""
        self._wait_for(link)
        wish = announcements(link.network.config.options)
        if wish.asked_for or needs_announcement(link.endpoint):
            endpoint_id = link.endpoint.id
            self._announcer.announce(sandbox.netns, link.endpoint, wish, lambda: endpoint_id in sandbox.links)

    def _wait_for(self, link: Joined) -> None:
        driver = self._core.driver(link.network.config.driver)
        if isinstance(driver, Carries):
            driver.wait_until_carried(self._networks.as_driver(link.network), as_driver(link.endpoint))

    def _with_address(self, container: Container, sandbox: Sandbox, link: Joined) -> Joined:
        """Have a server lend an address to a link."""
        self._sandboxes.prepare(sandbox, link)
        self._wait_for(link)
        return self._leases.obtain(container, link, sandbox.netns)

    def _join_one(self, endpoint: Endpoint, netns: Path) -> Joined:
        attachment = self._endpoints.join(endpoint, netns)
        network = self._core.records.networks.get(endpoint.network_id)
        assert attachment is not None, "a driver without links is never joined"
        assert network is not None
        return Joined(endpoint=endpoint, network=network, attachment=attachment)

    def leave(self, container: Container) -> None:
        """Take all links of its sandbox out of service."""
        endpoints = self._core.records.endpoints_of(container.id)
        sandbox = self._sandboxes.get(container.sandbox)
        # After a crash we are not connected to a sandbox in which nothing runs.
        netns = sandbox.netns if sandbox is not None else self._core.spawner.sandbox(container.id)
        links = self._links(container)
        with every_step(f"cannot take {container.name} off all its networks") as step:
            for endpoint in endpoints:
                self._leases.forget(endpoint.id)
                with step:
                    self.links.close(endpoint)
                with step:
                    self._endpoints.unresolvable(endpoint)
                with step:
                    self._endpoints.leave(endpoint, netns)
            if sandbox is not None:
                with step:
                    self._sandboxes.clear(sandbox)
        for link in links:
            self._networks.event("disconnect", link.network, container)

    def _abandon(self, name: str) -> None:
        """Let a sandbox that was made in vain go with its process."""
        self._sandboxes.close(name)
        self._core.spawner.unpin(name)

    def adopt(self, container: Container, netns: Path) -> None:
        """Find the links of a running sandbox again after the engine was away; nothing in it changes.

        But for a network that it was being connected to or disconnected from: that link is made again.
        """
        sandbox = self._sandboxes.open(container.sandbox, netns, container.config)
        endpoints = self._core.records.endpoints_of(container.id)
        missing: list[Endpoint] = []
        for endpoint in endpoints:
            if sandbox.index(endpoint.interface) is None:
                missing.append(endpoint)
                continue
            network = self._core.records.networks.get(endpoint.network_id)
            assert network is not None
            attachment = self._endpoints.adopt_link(endpoint, netns)
            sandbox.links[endpoint.id] = Joined(endpoint=endpoint, network=network, attachment=attachment)
            self._endpoints.resolvable(container, endpoint)
            if network.config.leased:
                self._leases.keep(endpoint, netns)
        if endpoints or container.config.network_mode == "bridge":  # it may have been disconnected from all
            self._sandboxes.serve_dns(sandbox, container.config)
        for endpoint in missing:
            with Undo() as undo:  # the driver takes away what it may find half made
                self.plug(container, endpoint, sandbox, undo)
                undo.pop_all()

    # --- one network of a running container -----------------------------------------------------

    def plug(self, container: Container, endpoint: Endpoint, sandbox: Sandbox, undo: ExitStack) -> Endpoint:
        """Bring one more network into a running sandbox; returns the endpoint with the addresses that it has there."""
        undo.callback(self._endpoints.leave, endpoint, sandbox.netns)
        joined = self._join_one(endpoint, sandbox.netns)
        if joined.network.config.leased:
            undo.callback(self._leases.forget, endpoint.id)
            joined = self._with_address(container, sandbox, joined)
            if endpoint.lease is None:
                undo.callback(self._leases.release, joined.endpoint, joined.network)
        endpoint = joined.endpoint
        undo.callback(self._sandboxes.remove, sandbox, endpoint.id)
        self._sandboxes.add(sandbox, joined, container.config)
        self.carry(joined, sandbox)
        undo.callback(self._shut, joined, container.ports)
        self._open(joined, container.ports)
        undo.callback(self.links.close, endpoint)
        self.links.open(endpoint)
        undo.callback(self._endpoints.unresolvable, endpoint)
        self._endpoints.resolvable(container, endpoint)
        return endpoint

    def unplug(self, endpoint: Endpoint, sandbox: Sandbox) -> None:
        """Take one network out of a running sandbox."""
        container = self._core.records.containers.get(endpoint.container_id)
        link = sandbox.links.get(endpoint.id)
        self._leases.forget(endpoint.id)
        with every_step("cannot disconnect cleanly") as step:
            if link is not None and container is not None:
                with step:
                    self._shut(link, container.ports)
            with step:
                self.links.close(endpoint)
            with step:
                self._endpoints.unresolvable(endpoint)
            with step:
                self._sandboxes.remove(sandbox, endpoint.id)
            with step:
                self._endpoints.leave(endpoint, sandbox.netns)

    # --- ports --------------------------------------------------------------------------------

    def publisher(self, container: Container) -> Joined | None:
        """The attachment that its published ports lead to."""
        links = self._links(container)
        chosen = publishing_endpoint(links) or next((link for link in links if self._publishes_to_host(link)), None)
        if chosen is None or not isinstance(self._core.driver(chosen.network.config.driver), Publishes):
            return None
        return chosen

    def _links(self, container: Container) -> list[Joined]:
        sandbox = self._sandboxes.get(container.sandbox)
        return list(sandbox.links.values()) if sandbox is not None else []

    def _publishes_to_host(self, link: Joined) -> bool:
        driver = self._core.driver(link.network.config.driver)
        return isinstance(driver, Publishes) and driver.publishes_to_host(self._networks.as_driver(link.network))

    def publish(self, container: Container, ports: Sequence[PortConfig], undo: ExitStack) -> tuple[PortConfig, ...]:
        """Publish ports; returns them with the host ports they got.

        Nothing is published where no network leads outside (internal ones only), as in Docker; unless
        one of these was asked to publish to the host. On networks that are routed to, the ports are
        open whether or not they are the way out.
        """
        link = self.publisher(container) if ports else None
        if link is None:
            return ()
        driver = self._core.driver(link.network.config.driver)
        assert isinstance(driver, Publishes)
        network, endpoint = self._networks.as_driver(link.network), as_driver(link.endpoint)
        wanted = [binding_of(port) for port in ports]
        try:
            bindings = driver.publish(network, endpoint, wanted)
        except PortInUse as error:
            raise self._named(error, container) from error
        undo.callback(driver.unpublish, network, endpoint, bindings)
        for other in self._links(container):
            if other is not link:
                undo.callback(self._shut, other, ports)
                self._open(other, ports)
        got = zip(ports, wanted, bindings, strict=True)
        return tuple(port if binding is asked else _port(binding) for port, asked, binding in got)

    def _open(self, link: Joined, ports: Sequence[PortConfig]) -> None:
        driver = self._core.driver(link.network.config.driver)
        if isinstance(driver, Publishes):
            network = self._networks.as_driver(link.network)
            driver.open_ports(network, as_driver(link.endpoint), [binding_of(port) for port in ports])

    def _shut(self, link: Joined, ports: Sequence[PortConfig]) -> None:
        driver = self._core.driver(link.network.config.driver)
        if isinstance(driver, Publishes):
            network = self._networks.as_driver(link.network)
            driver.shut_ports(network, as_driver(link.endpoint), [binding_of(port) for port in ports])

    def _named(self, error: PortInUse, container: Container) -> PortInUse | Conflict:
        """Say by name which container has the port: drivers know endpoints only."""
        endpoint = self._core.records.endpoint(error.endpoint)
        other = endpoint and self._core.records.containers.get(endpoint.container_id)
        if not other:
            return error
        if other.id == container.id:
            return Conflict(f"host port {error.port} is published twice", "give each its own")
        return Conflict(f"host port {error.port} is published by container {other.name}", error.hint)

    def unpublish(self, container: Container) -> None:
        """Withdraw what the record says is published."""
        link = self.publisher(container) if container.ports else None
        if link is None:
            return
        with every_step(f"cannot withdraw all ports of {container.name}") as step:
            with step:
                self.unpublish_from(link, container.ports)
            for other in self._links(container):
                if other is not link:
                    with step:
                        self._shut(other, container.ports)

    def publish_to(self, link: Joined, ports: Sequence[PortConfig]) -> None:
        """Publish again what was withdrawn from there."""
        driver = self._core.driver(link.network.config.driver)
        assert isinstance(driver, Publishes)
        driver.publish(
            self._networks.as_driver(link.network), as_driver(link.endpoint), [binding_of(port) for port in ports]
        )

    def unpublish_from(self, link: Joined, ports: Sequence[PortConfig]) -> None:
        driver = self._core.driver(link.network.config.driver)
        assert isinstance(driver, Publishes)
        network = self._networks.as_driver(link.network)
        driver.unpublish(network, as_driver(link.endpoint), [binding_of(port) for port in ports])


def ports_to_move(container: Container) -> list[PortConfig]:
    """The host ports that it has; where it has none (its network is routed to) those that it was to have."""
    asked = container.config.ports
    return [had if had.host_port else port for port, had in zip(asked, container.ports or asked, strict=True)]


def binding_of(port: PortConfig) -> PortBinding:
    return PortBinding(
        protocol=port.protocol,
        container_port=port.container_port,
        host_address=port.host_address,
        host_port=port.host_port,
        host_port_end=port.host_port_end,
    )


def _port(binding: PortBinding) -> PortConfig:
    return PortConfig(
        container_port=binding.container_port,
        protocol=binding.protocol,
        host_address=binding.host_address,
        host_port=binding.host_port,
    )
