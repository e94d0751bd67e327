"""Connecting containers to networks and disconnecting them, while they run or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from netmodel.engine.attach import Attachments, ports_to_move
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints, interface_names
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.links import linking, resolved_endpoint
from netmodel.engine.routing import Joined
from netmodel.engine.sandbox import Sandbox, Sandboxes
from netmodel.engine.undo import Undo, every_step
from netmodel.errors import Conflict, Forbidden, Invalid, NotFound
from netmodel.model import Container, Endpoint, EndpointConfig, Network


class Connections:
    """One attachment more or less; a running container sees the link, its names and its files change at once."""

    def __init__(
        self,
        core: Core,
        containers: Containers,
        endpoints: Endpoints,
        attachments: Attachments,
        sandboxes: Sandboxes,
        lifecycle: Lifecycle,
    ) -> None:
        self._core = core
        self._containers = containers
        self._endpoints = endpoints
        self._attachments = attachments
        self._sandboxes = sandboxes
        self._lifecycle = lifecycle

    def connect(self, network_ref: str, container_ref: str, config: EndpointConfig | None) -> Endpoint:
        core = self._core
        network = core.records.networks.find(network_ref)
        container = self._containers.find(container_ref)
        config = resolved_endpoint(core, config or EndpointConfig(network=network.name))
        with (
            core.locks.containers([container.id]),
            core.locks.sharing(self._networks_of(container, network)),
            self._lifecycle.name_files.following(linking(core, container.id)),
        ):
            network = core.records.networks.find(network.id)
            container = self._containers.find(container.id)
            present = core.records.endpoints_of(container.id)
            _check(container, network, present)
            [interface] = interface_names([config], [network], [endpoint.interface for endpoint in present])
            with self._ports_on_the_move(container), Undo() as undo:
                before = self._attachments.publisher(container)
                endpoint = self._endpoints.reserve(container, config, network, interface)
                undo.callback(self._endpoints.give_back, endpoint)
                core.records.put(endpoint)
                undo.callback(core.records.delete, endpoint)
                sandbox = self._in_service(container)
                if sandbox is not None:
                    endpoint = self._endpoints.claim(endpoint, undo)
                    core.records.put(endpoint)
                    endpoint = self._attachments.plug(container, endpoint, sandbox, undo)
                    now = [*present, endpoint]
                    undo.callback(self._lifecycle.name_files.follow, container, now, present)
                    self._lifecycle.name_files.follow(container, present, now)
                    self._move_ports(container, before)
                undo.pop_all()
        self._event("connect", network, container)
        return endpoint

    def disconnect(self, network_ref: str, container_ref: str, force: bool) -> None:
        core = self._core
        network = core.records.networks.find(network_ref)
        container = self._containers.find(container_ref)
        with (
            core.locks.containers([container.id]),
            core.locks.sharing(self._networks_of(container, network)),
            self._lifecycle.name_files.following(linking(core, container.id)),
        ):
            container = self._containers.find(container.id)
            present = core.records.endpoints_of(container.id)
            endpoint = next((one for one in present if one.network_id == network.id), None)
            if endpoint is None:
                raise NotFound(f"container {container.name} is not connected to network {network.name}")
            core.records.expect_writable()
            before = self._attachments.publisher(container)
            sandbox = self._in_service(container)
            told = f"cannot disconnect {container.name} from {network.name} cleanly"
            with self._ports_on_the_move(container), every_step(told) as step:
                if before is not None and before.endpoint.id == endpoint.id and container.ports:
                    with step:
                        self._attachments.unpublish_from(before, container.ports)
                if sandbox is not None:
                    with step:
                        self._attachments.unplug(endpoint, sandbox)
                with step:
                    self._endpoints.give_back(endpoint)
                with step:
                    core.records.delete(endpoint)
                if sandbox is not None:
                    with step:
                        left = [one for one in present if one is not endpoint]
                        self._lifecycle.name_files.follow(container, present, left)
                    with step:
                        self._move_ports(container, before, gone=endpoint)
        self._event("disconnect", network, container)

    def unlink(self, container_ref: str, alias: str) -> None:
        """End a legacy link of a container on the default network."""
        container = self._containers.find(container_ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            with self._lifecycle.name_files.following([container]):
                self._attachments.links.unlink(container, alias)

    def _in_service(self, container: Container) -> Sandbox | None:
        """Its sandbox, when links belong in it now: somebody runs there."""
        sandbox = self._sandboxes.get(container.id)
        if sandbox is None:
            return None
        running = any(one.state.running for one in self._core.records.sharers(container.id))
        return sandbox if running else None

    @contextmanager
    def _ports_on_the_move(self, container: Container) -> Iterator[None]:
        """Say in its record that its ports may lead elsewhere soon, so that the next engine looks should we die."""
        if not container.config.ports or not container.state.running:
            yield
            return
        self._core.records.put(replace(container, moving=True))
        try:
            yield
        finally:
            now = self._core.records.containers.get(container.id)
            if now is not None and now.moving:
                self._core.records.put(replace(now, moving=False))

    def _move_ports(self, container: Container, before: Joined | None, gone: Endpoint | None = None) -> None:
        """Published ports follow the default gateway, with the host ports they have."""
        after = self._attachments.publisher(container)
        # One that has ended while others go on in its sandbox publishes nothing.
        if not container.config.ports or not container.state.running or _same(before, after):
            return
        with Undo() as undo:
            if before is not None and (gone is None or gone.id != before.endpoint.id):
                undo.callback(self._attachments.publish_to, before, container.ports)
                self._attachments.unpublish_from(before, container.ports)
            elif container.ports:
                undo.callback(self._core.records.put, replace(container, ports=()))  # what led there is withdrawn
            ports = self._attachments.publish(container, ports_to_move(container), undo) if after is not None else ()
            self._core.records.put(replace(container, ports=ports))
            undo.pop_all()

    def _networks_of(self, container: Container, network: Network) -> list[str]:
        return [network.id, *(one.network_id for one in self._core.records.endpoints_of(container.id))]

    def _event(self, action: str, network: Network, container: Container) -> None:
        self._core.events.publish(
            "network",
            action,
            network.id,
            {"name": network.name, "type": network.config.driver, "container": container.id},
        )


def _same(one: Joined | None, other: Joined | None) -> bool:
    return (one.endpoint.id if one else None) == (other.endpoint.id if other else None)


def _check(container: Container, network: Network, present: Sequence[Endpoint]) -> None:
    if container.config.network_mode != "bridge":
        raise Conflict(
            f"container {container.name} has network mode {container.config.network_mode} and cannot join a network",
            "create it on a network instead",
        )
    if network.config.config_only:
        raise Forbidden(
            f"network {network.name} is settings alone: nobody can be on it",
            f"create a network with --config-from {network.name}, and connect to that",
        )
    if network.config.driver in ("host", "null"):
        raise Invalid(f"a container cannot be connected to network {network.name}", "create it with that network mode")
    if any(endpoint.network_id == network.id for endpoint in present):
        raise Conflict(f"container {container.name} is connected to network {network.name} already")
