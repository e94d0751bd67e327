"""What a new engine does first: make the store and the kernel agree, whatever happened to the last one.

Running containers are adopted, half-made things are finished or undone, and what carries our tag
but belongs to nothing in the store is removed. Nothing without our tag is ever touched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from drivers.api import Endpoint as DriverEndpoint
from drivers.api import PortBinding
from drivers.bridge import Bridge
from drivers.bridge_link import BRIDGE
from drivers.bridge_vlan import ABOVE, ENTERED
from drivers.kernel.link import Link
from drivers.p2p import CABLE
from drivers.parents import PARENT
from netmodel.engine.attach import Attachments, binding_of, ports_to_move
from netmodel.engine.committing import FROZEN
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints, as_driver
from netmodel.engine.exits import LOST, LOST_ERROR
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.networks import Networks
from netmodel.engine.undo import Undo
from netmodel.engine.volumes import EngineVolumes
from netmodel.model import Container, Endpoint, Network
from runtime.client import ContainerStatus, Exited

_BOOT = "boot"  # of the store's meta: which boot of the machine was seen last


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One start of an engine on a root that may have a past."""

    core: Core
    networks: Networks
    endpoints: Endpoints
    attachments: Attachments
    containers: Containers
    lifecycle: Lifecycle
    volumes: EngineVolumes
    warnings: list[str]
    sandboxes: dict[str, Path] = field(default_factory=dict)  # those that stand: asked for once, not once each

    def run(self) -> None:
        self._hold_what_is_recorded()
        statuses = {status.id: status for status in self.core.spawner.status()}
        self.sandboxes.update(self.core.spawner.sandboxes())
        self._settle_networks()
        self._settle_containers(statuses)
        self._thaw()
        self._remove_strangers(statuses)
        self._restore_networks()
        self._sweep()
        self._note_boot()

    def _hold_what_is_recorded(self) -> None:
        """Reserve in memory what the records hold, before anything new could get it."""
        for network in self.core.records.networks:
            with self._reported(f"network {network.name}"):
                self.networks.adopt(network)
        for endpoint in self.core.records.endpoints():
            with self._reported(f"endpoint {endpoint.id[:12]}"):
                self.endpoints.adopt(endpoint)
        for container in self.core.records.containers:
            if not self.core.id_ranges.adopt(container):
                self.warnings.append(
                    f"container {container.name} has the same user ids as one of another engine on this machine: "
                    f"create it again to part them"
                )
        self.core.id_ranges.sweep()

    # --- records ------------------------------------------------------------------------------

    def _settle_networks(self) -> None:
        """A network that was being made or removed is removed: nobody was told that it is there."""
        for network in self.core.records.networks:
            if network.state != "ready":
                with self._reported(f"network {network.name}"):
                    self.networks.destroy(network)

    def _settle_containers(self, statuses: dict[str, ContainerStatus]) -> None:
        # Who owns a sandbox comes before those who share it.
        for container in sorted(self.core.records.containers, key=lambda one: one.sandbox != one.id):
            with self._reported(f"container {container.name}"):
                self._settle_container(container, statuses.get(container.id))

    def _settle_container(self, container: Container, status: ContainerStatus | None) -> None:
        if container.creating or container.removing:
            self._end(container, status)
            self.lifecycle.removal.destroy(container, volumes=True)
        elif not container.state.running:
            self._end(container, status)
            if container.config.auto_remove and container.state.finished_at is not None:
                # It had ended, and somebody was still reading what it printed.
                self.lifecycle.removal.destroy(container, volumes=True)
        elif container.state.status == "restarting":
            self._await_restart(container, status)
        elif status is not None and status.state == "running":
            self._adopt(container, status)
        else:
            self._note_end(container, status)

    def _end(self, container: Container, status: ContainerStatus | None) -> None:
        """Take back a start that was under way: nobody was told that it runs."""
        if status is not None:
            self.lifecycle.starting.discard(container.id)
        if container.sandbox == container.id and not self._in_service(container.id):
            self.attachments.leave(container)

    def _adopt(self, container: Container, status: ContainerStatus) -> None:
        """It ran on without us."""
        cgroup = self.core.cgroups.open(container.id)
        self.lifecycle.runs.begin(container.id, cgroup, self.core.spawner.pid)
        self.volumes.adopt(container)
        self._adopt_sandbox(container)
        self.lifecycle.shortage.begin(container, cgroup)
        self.lifecycle.health.begin(container.id, grace=container.state.health == "starting")
        if container.state.pid != status.pid or container.restarting:
            state = replace(container.state, pid=status.pid)
            self.core.records.put(replace(container, state=state, restarting=False))

    def _adopt_sandbox(self, container: Container) -> None:
        # Of a sandbox that is shared, the owner may have ended before.
        owner = self.core.records.containers.get(container.sandbox)
        netns = None if owner is None else self.sandboxes.get(owner.id)
        if owner is not None and netns is not None:
            self.attachments.adopt(owner, netns)
            self.lifecycle.name_files.repair(owner, self.core.records.endpoints_of(owner.id))

    def _await_restart(self, container: Container, status: ContainerStatus | None) -> None:
        """It was between two lives, or its next one was not told of yet."""
        if status is not None:
            self.lifecycle.starting.discard(container.id)
        self._adopt_sandbox(container)
        self.lifecycle.restarts.schedule(container.id)

    def _note_end(self, container: Container, status: ContainerStatus | None) -> None:
        """It ended while no engine was there to see."""
        with suppress(Exception):  # a reboot took the group away
            self.lifecycle.runs.begin(container.id, self.core.cgroups.open(container.id), self.core.spawner.pid)
        if (
            container.config.restart.name != "no" or container.restarting
        ):  # it may keep its sandbox, and start in it again
            self._adopt_sandbox(container)
        if status is not None and status.exit_code is not None:
            news = Exited(container.id, status.exit_code, status.signal, status.finished_at or time.time())
            self.lifecycle.exits.settle(container, news)
        else:
            news = Exited(container.id, LOST, None, time.time())
            self.lifecycle.exits.settle(container, news, LOST_ERROR)
        if container.restarting:
            self.lifecycle.restarts.schedule(container.id)

    # --- the kernel -----------------------------------------------------------------------------

    def _remove_strangers(self, statuses: dict[str, ContainerStatus]) -> None:
        """What the spawner keeps for containers that the store does not know."""
        known = self.core.records.containers
        for container_id in statuses:
            if known.get(container_id) is None:
                with self._reported(f"container {container_id[:12]}"):
                    self.lifecycle.starting.discard(container_id)
        for name in self.core.spawner.pins():
            if known.get(name) is None:
                with self._reported(f"sandbox {name[:12]}"):
                    self.core.spawner.unpin(name)

    def _restore_networks(self) -> None:
        """Bridges and rules that are missing are made again; links and rules of nothing go."""
        ready = list(self.core.records.networks)
        for network in ready:
            with self._reported(f"network {network.name}"):
                self.core.driver(network.config.driver).create_network(self.networks.as_driver(network))
        bridge = self.core.drivers["bridge"]
        assert isinstance(bridge, Bridge)
        self._remove_links(bridge)
        restored = [
            (self.networks.as_driver(network), self._published(network))
            for network in ready
            if network.config.driver == "bridge"
        ]
        for failure in bridge.restore(restored, self.attachments.links.allowed()):
            self.warnings.append(str(failure))
        for container in self.core.records.containers:
            if container.moving:
                with self._reported(f"container {container.name}"):
                    self._move_ports(container)

    def _move_ports(self, container: Container) -> None:
        """Publish where its ports belong by now: the last engine died while it connected or disconnected it."""
        container = replace(container, moving=False)
        with Undo() as undo:
            undo.callback(self.core.records.put, replace(container, ports=()))
            wanted = ports_to_move(container) if container.state.running else ()
            self.core.records.put(replace(container, ports=self.attachments.publish(container, wanted, undo)))
            undo.pop_all()

    def _published(self, network: Network) -> list[tuple[DriverEndpoint, list[PortBinding], bool]]:
        """Whose ports there are on a network, and whether they lead there, or are open beside that."""
        found = []
        for endpoint in self.core.records.endpoints_on(network.id):
            container = self.core.records.containers.get(endpoint.container_id)
            if container is None or not container.ports or container.moving:
                continue
            link = self.attachments.publisher(container)
            if link is not None:
                bindings = [binding_of(port) for port in container.ports]
                found.append((as_driver(endpoint), bindings, link.endpoint.id == endpoint.id))
        return found

    def _remove_links(self, bridge: Bridge) -> None:
        """Links with our tag whose object is gone, or whose container does not run."""
        records = self.core.records
        for link, kind, object_id in bridge.links():
            if kind in (BRIDGE, ENTERED, ABOVE, PARENT) and records.networks.get(object_id) is not None:
                continue
            if kind == CABLE and any(self._in_service(one.container_id) for one in records.endpoints_on(object_id)):
                continue  # the end of a link whose other end is in a sandbox
            endpoint = records.endpoint(object_id) if kind == "endpoint" else None
            if endpoint is not None and self._in_service(endpoint.container_id):
                with self._reported(f"link {link.name}"):
                    self._plug_back(bridge, endpoint, link)
                continue
            with self._reported(f"link {link.name}"):
                self.core.reaper.retire([link.name])
        # Also what the last engine had retired and could not delete any more.
        self.core.reaper.drain()

    def _plug_back(self, bridge: Bridge, endpoint: Endpoint, link: Link) -> None:
        """Connect again who lost a network's bridge while it ran."""
        network = self.core.records.networks.get(endpoint.network_id)
        container = self.core.records.containers.get(endpoint.container_id)
        if network is None or container is None or network.config.driver != bridge.name:
            return
        published = bool(container.ports)
        if bridge.plug_back(self.networks.as_driver(network), as_driver(endpoint), link, published=published):
            self.warnings.append(f"the bridge of network {network.name} was gone: {container.name} is on it again")

    def _in_service(self, owner_id: str) -> bool:
        return any(one.state.running for one in self.core.records.sharers(owner_id))

    def _sweep(self) -> None:
        """Control groups, layers, directories and volumes of nobody."""
        core = self.core
        known = core.records.containers
        for name in core.cgroups.names():
            if self.lifecycle.runs.get(name) is None:
                with self._reported(f"control group {name[:12]}"):
                    group = core.cgroups.open(name)
                    group.kill()
                    group.delete()
        for container_id in core.layers.containers():
            if known.get(container_id) is None:
                with self._reported(f"layer {container_id[:12]}"):
                    core.layers.delete(container_id)
        for directory in core.root.containers.iterdir():
            if known.get(directory.name) is None:
                shutil.rmtree(directory, ignore_errors=True)
        for driver in core.volumes.values():
            with self._reported("volumes"):
                driver.settle()
            for name in driver.list():
                # Made, but not recorded yet: then it is empty. One with data is never deleted here.
                if core.records.volume(name) is None and driver.usage(name) == 0:
                    with self._reported(f"volume {name}"):
                        driver.remove(name)

    def _thaw(self) -> None:
        """Let those go on that were frozen only while an image was made of them."""
        records = self.core.records
        for note in records.meta(FROZEN):
            container_id = note.removeprefix(FROZEN)
            with self._reported(f"container {container_id[:12]}"):
                container, run = records.containers.get(container_id), self.lifecycle.runs.get(container_id)
                if container is not None and run is not None:
                    run.cgroup.thaw()
                    if container.state.status == "paused":
                        records.put(replace(container, state=replace(container.state, status="running")))
                records.write(meta={note: None})

    def _note_boot(self) -> None:
        """After the machine has started, what is always to run does, even if somebody had stopped it."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        before = self.core.records.meta(_BOOT).get(_BOOT)
        if before == boot:
            return
        self.core.records.write(meta={_BOOT: boot})
        if before is None:
            return
        for container in self.core.records.containers:
            if container.config.restart.name == "always" and container.state.status == "exited":
                state = replace(container.state, status="restarting")
                self.core.records.put(replace(container, state=state))
                self.lifecycle.restarts.schedule(container.id)

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """One thing that cannot be repaired keeps nothing else from it; info() tells of it."""
        try:
            yield
        except Exception as error:
            self.warnings.append(f"{what}: {error}")
