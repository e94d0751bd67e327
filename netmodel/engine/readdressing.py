"""What it means to a running container that its lease is another now."""

from __future__ import annotations

from netmodel.engine.attach import Attachments
from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.routing import Joined
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.undo import Undo, every_step
from netmodel.model import Container, Endpoint


class Readdressing:
    """Its link, its names, its files and its ports follow. The container's lock is held."""

    def __init__(
        self, core: Core, endpoints: Endpoints, attachments: Attachments, sandboxes: Sandboxes, lifecycle: Lifecycle
    ) -> None:
        self._core = core
        self._endpoints = endpoints
        self._attachments = attachments
        self._sandboxes = sandboxes
        self._lifecycle = lifecycle

    def __call__(self, before: Endpoint, after: Endpoint) -> None:
        container = self._core.records.containers.get(before.container_id)
        sandbox = self._sandboxes.get(before.container_id)
        link = sandbox.links.get(before.id) if sandbox is not None else None
        if container is None or sandbox is None or link is None:
            return
        attachment = self._endpoints.adopt_link(after, sandbox.netns)
        now = Joined(endpoint=after, network=link.network, attachment=attachment)
        moved = before.addresses != after.addresses
        publisher = self._attachments.publisher(container)
        with every_step(f"cannot give {container.name} its other address") as step:
            with step:
                self._sandboxes.readdress(sandbox, now)
            with step:
                self._follow(container, before, after)
            if moved:
                with step:
                    self._endpoints.resolvable(container, after)
                with step:
                    self._attachments.carry(now, sandbox)
            with step:
                self._move_ports(container, publisher, self._attachments.publisher(container))
        if moved:
            self._tell(container, now, before)

    def _follow(self, container: Container, before: Endpoint, after: Endpoint) -> None:
        endpoints = self._core.records.endpoints_of(container.id)
        former = [before if one.id == before.id else one for one in endpoints]
        self._lifecycle.name_files.follow(container, former, endpoints)

    def _move_ports(self, container: Container, before: Joined | None, after: Joined | None) -> None:
        """Published ports lead to the address that is the way out now, with the host ports they have."""
        if not container.ports or _where(before) == _where(after):
            return
        if before is not None:
            self._attachments.unpublish_from(before, container.ports)
        if after is not None:
            with Undo() as undo:
                self._attachments.publish(container, container.ports, undo)
                undo.pop_all()

    def _tell(self, container: Container, link: Joined, before: Endpoint) -> None:
        self._core.events.publish(
            "network",
            "lease",
            link.network.id,
            {
                "name": link.network.name,
                "type": link.network.config.driver,
                "container": container.id,
                "address": ", ".join(str(address) for address in link.endpoint.addresses),
                "former": ", ".join(str(address) for address in before.addresses),
            },
        )


def _where(link: Joined | None) -> object:
    return None if link is None else (link.endpoint.id, link.endpoint.addresses)
