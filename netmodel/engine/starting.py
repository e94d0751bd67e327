"""Starting a container: create, attach, start; or leave everything as it was."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime

from drivers.errors import PortInUse
from netmodel.engine.attach import Attachments, ports_to_move
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.health import HealthChecks
from netmodel.engine.launch import container_spec, device_rules_of, resources_of
from netmodel.engine.links import target_ids
from netmodel.engine.name_files import NameFiles
from netmodel.engine.namespaces import lender_ids, users_owner
from netmodel.engine.refusals import unless
from netmodel.engine.runs import Runs
from netmodel.engine.stopping import KILL_S
from netmodel.engine.undo import Undo
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, NetmodelError, StartRefused, translate
from netmodel.model import Container, ContainerState, Endpoint, PortConfig
from runtime.client import Spawner
from runtime.errors import SpawnerUnavailable
from runtime.spec import ContainerSpec

# Until there is a spawner again, after one was killed; mostly it takes a tenth of a second.
_REPLACED_S = 20.0


class Starting:
    """One launch at a time for each container; the caller holds its lock and its sandbox owner's."""

    def __init__(
        self,
        core: Core,
        containers: Containers,
        volumes: EngineVolumes,
        attachments: Attachments,
        name_files: NameFiles,
        runs: Runs,
        health: HealthChecks,
    ) -> None:
        self._core = core
        self._containers = containers
        self._volumes = volumes
        self._attachments = attachments
        self._name_files = name_files
        self._runs = runs
        self._health = health

    def launch(self, container: Container, *, inherit: bool = False) -> None:
        """Run it, or leave everything as it was and the reason in its record.

        Args:
            inherit: It may take addresses from those that it replaces; their locks are held, too.
        """
        core = self._core
        owner = self.check(container)
        endpoints = core.records.endpoints_of(owner.id)
        with core.locks.sharing(endpoint.network_id for endpoint in endpoints):
            spawner = core.spawner
            try:
                if owner is container:
                    endpoints = self._attachments.claim(container, inherit)
                try:
                    self._attempt(container, owner, endpoints)
                except Exception:
                    if not (_has_died(spawner) and self._can_repeat(container, spawner)):
                        raise
                    self._attempt(container, owner, endpoints)
            except Exception as error:
                self._note_failure(container, translate(error))
                raise

    def _attempt(self, container: Container, owner: Container, endpoints: list[Endpoint]) -> None:
        with Undo() as undo:
            self._core.records.put(self._launched(container, owner, endpoints, undo))
            undo.pop_all()

    def _can_repeat(self, container: Container, dead: Spawner) -> bool:
        """Whether there soon is a spawner again, and nobody whom it lacks since the other one died."""
        alone = container.sandbox in (container.id, "host") and not lender_ids(container.config)
        return alone and self._core.has_spawner_after(dead, _REPLACED_S)

    def _launched(
        self, container: Container, owner: Container, endpoints: list[Endpoint], undo: ExitStack
    ) -> Container:
        core = self._core
        described = core.cdi.edits(container.config.cdi_devices, container.config.user)
        cgroup = core.cgroups.create(
            container.id,
            resources_of(container.config, core.confinement.default_pids, core.cgroups.supports),
            privileged=container.config.privileged,
            devices=(*device_rules_of(container.config), *described.rules),
        )
        undo.callback(cgroup.delete)
        undo.callback(self._volumes.unmount, container)
        spec = described.applied(self._spec(container, owner, endpoints, cgroup.directories))
        # From here the child prepares its mounts, while we bring up its network.
        created = core.spawner.create(spec)
        self._runs.begin(container.id, cgroup, core.spawner.pid)
        undo.callback(self._runs.end, container.id)
        undo.callback(self.discard, container.id)
        ports = container.ports  # kept over a restart
        if container.sandbox == container.id:
            self._attachments.join(container, created.netns, created.new_sandbox, undo)
            now = core.records.endpoints_of(container.id)
            if now != endpoints:  # a server has lent addresses
                self._name_files.write(container, now)
            if not ports or created.new_sandbox:  # what led into a former one is withdrawn, or went with the machine
                ports = self._published(container, undo)
            self._attachments.wait_until_carried(container)
        core.spawner.start(container.id)
        state = ContainerState(
            status="running",
            pid=created.pid,
            started_at=datetime.now(UTC),
            health="" if self._health.wanted(container) is None else "starting",
        )
        return replace(container, state=state, ports=ports, stopped=False)

    def _published(self, container: Container, undo: ExitStack) -> tuple[PortConfig, ...]:
        """Its ports, by the numbers that it had; or others where somebody has those by now and any would do."""
        asked, had = container.config.ports, tuple(ports_to_move(container))
        try:
            return self._attachments.publish(container, had, undo)
        except (PortInUse, Conflict):
            if had == asked:
                raise
            return self._attachments.publish(container, asked, undo)

    def check(self, container: Container) -> Container:
        """Refuse one whose start lacks another container; returns the owner of its sandbox."""
        owner = self._owner(container)
        self._check_others(container)
        self._attachments.links.check(container)
        return owner

    def _owner(self, container: Container) -> Container:
        """Whose sandbox it uses; for one of the host's it is the container itself."""
        if container.sandbox in (container.id, "host"):
            return container
        owner = self._core.records.containers.get(container.sandbox)
        if owner is None:
            raise Conflict(
                f"the container whose network {container.name} uses is gone ({container.sandbox[:12]})",
                f"remove {container.name} and create it again",
            )
        if not owner.state.running:
            raise Conflict(
                f"container {owner.name}, whose network {container.name} uses, does not run",
                f"start {owner.name} first",
            )
        return owner

    def waits_for_others(self, container: Container) -> bool:
        """Whether one whose processes or IPC it shares, or which it is linked to, is itself between two lives."""
        ids = (*lender_ids(container.config), *target_ids(container.config))
        others = (self._core.records.containers.get(other) for other in ids)
        return any(other is not None and other.state.status == "restarting" for other in others)

    def _check_others(self, container: Container) -> None:
        """Whose processes or IPC it shares must run."""
        for other_id in lender_ids(container.config):
            other = self._core.records.containers.get(other_id)
            if other is None or other.state.status not in ("running", "paused"):
                what = "processes" if container.config.pid_mode.endswith(other_id) else "IPC"
                raise Conflict(
                    f"container {other.name if other else other_id[:12]}, whose {what} {container.name} shares, "
                    f"{'does not run' if other else 'is gone'}",
                    "start it first" if other else f"remove {container.name} and create it again",
                )

    def _spec(
        self, container: Container, owner: Container, endpoints: list[Endpoint], cgroups: tuple[str, ...]
    ) -> ContainerSpec:
        image = self._containers.image_of(container)
        if owner is container:  # who shares a sandbox sees its owner's files
            self._name_files.write(container, endpoints)
        spec = container_spec(
            container,
            owner,
            users_owner(self._core, container),
            image,
            layer=self._core.layers.paths(container.id),
            below=self._core.layers.below(),
            files=self._containers.files(owner.id),
            log=self._containers.files(container.id).log,
            cgroups=cgroups,
            volumes=self._volumes.mount(container),
        )
        return replace(spec, process=self._core.confinement.of(spec.process, container))

    def discard(self, container_id: str) -> None:
        """Undo spawner.create(), and spawner.start() as well."""
        if self._forgotten(container_id):
            return
        with unless("conflict"):  # it has just ended
            self._core.spawner.signal(container_id, signal.SIGKILL)
        deadline = time.monotonic() + KILL_S
        # No run of ours may wait for its news, so the spawner is asked; this happens after a crash alone.
        while not self._forgotten(container_id) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _forgotten(self, container_id: str) -> bool:
        """Whether the spawner let go of it: it does not of one that runs."""
        with unless("conflict"):
            self._core.spawner.forget(container_id)
            return True
        return False

    def _note_failure(self, container: Container, error: NetmodelError) -> None:
        code = error.code if isinstance(error, StartRefused) else 128
        state = replace(container.state, exit_code=code, error=str(error), pid=0)
        if container.state.running or container.state.status == "restarting":
            state = replace(state, status="exited")
        with suppress(Exception):  # the disk may be full; the caller hears the first error
            self._core.records.note(replace(container, state=state, ports=()))


def _has_died(spawner: Spawner) -> bool:
    """Whether what has just failed may have failed for that."""
    try:
        spawner.pins()
    except SpawnerUnavailable:
        return True
    return False
