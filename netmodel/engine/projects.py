"""Projects: what a topology file declares, made to stand and taken down again."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from netmodel import codec
from netmodel.engine.conditions import wait_for
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.declared import in_file_order, needs_of, rank, resolved
from netmodel.engine.handed_on import HandedOn
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.networks import Networks
from netmodel.engine.ordered import run_in_order
from netmodel.engine.telling import Tell, Telling
from netmodel.engine.undo import Undo, every_step
from netmodel.engine.validate import check_container
from netmodel.engine.values import ProjectContainer, ProjectNetworkView, ProjectView
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, NotFound, Unavailable
from netmodel.model import Container, Network, Volume
from netmodel.project import NETWORK_LABEL, NUMBER_LABEL, PROJECT_LABEL, SERVICE_LABEL, Dependency, Project
from netmodel.topology.plan import Step, plan
from runtime.images import ImageNotFound

# Keys of the store: what was declared, and which up or down is under way.
_PROJECT, _UP, _DOWN = "project/", "up/", "down/"
# As much as the store keeps in reserve, which even the intent of an up would use.
_ROOM_BYTES = 256 * 1024
# More do not help: the work is Python's, under one lock, and the kernel's, under another.
_STARTERS = 2
_LEASING = 16  # that wait for a DHCP server, most of their time
_STOPPERS = 8  # they wait for processes and the kernel most of their time


class Projects:
    """Up and down, one at a time for each project."""

    def __init__(
        self, core: Core, networks: Networks, containers: Containers, volumes: EngineVolumes, lifecycle: Lifecycle
    ) -> None:
        self._core = core
        self._networks = networks
        self._containers = containers
        self._volumes = volumes
        self._lifecycle = lifecycle
        self._guard = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    # --- up -----------------------------------------------------------------------------------

    def plan(self, project: Project) -> tuple[Step, ...]:
        """What up() would do now."""
        records = self._core.records
        images = {}
        for name in _images_of(project):
            with suppress(ImageNotFound):  # what is not here is told of when it is needed
                images[name] = self._core.images.find(name).id
        return plan(project, records.networks, records.endpoints(), records.containers, records.volumes(), images)

    def up(self, project: Project, tell: Tell | None) -> None:
        """Make it stand. What this call created is taken back when it fails."""
        records = self._core.records
        name = project.name
        with self._alone(name):
            for declared in project.containers:
                check_container(resolved(declared, project).config)
            for image in _images_of(project):
                self._core.images.resolve(image)
            _expect_room(self._core.root.path)
            steps = self.plan(project)
            containers, networks, volumes = self._members(name)
            before = records.meta(_PROJECT + name).get(_PROJECT + name)
            is_new = not containers and not networks
            # The intent: a crash from here is undone if the project is new, else finished.
            intent = ["new", *(volume.name for volume in volumes)] if is_new else ["update"]
            records.write(meta={_PROJECT + name: codec.dumps(project).decode(), _UP + name: " ".join(intent)})
            try:
                _Up(self, project, steps, tell).run()
            except BaseException:
                records.write(meta={_PROJECT + name: before, _UP + name: None})
                raise
            records.write(meta={_UP + name: None})

    # --- down ---------------------------------------------------------------------------------

    def down(self, name: str, volumes: bool, tell: Tell | None) -> None:
        """Take everything of a project away; what cannot be is told together, at the end."""
        records = self._core.records
        with self._alone(name):
            if name not in self.names():
                raise self._unknown(name)
            records.write(meta={_DOWN + name: "volumes" if volumes else ""})
            owned = self._members(name)[2] if volumes else []
            try:
                self._take_down(name, owned, tell)
            except BaseException:
                records.write(meta={_DOWN + name: None})
                raise
            records.write(meta={_PROJECT + name: None, _UP + name: None, _DOWN + name: None})

    def _take_down(self, name: str, volumes: Sequence[Volume], tell: Tell | None) -> None:
        containers, networks, _ = self._members(name)
        steps = Telling(tell, len(containers) + len(networks) + len(volumes))
        with every_step(f"cannot take down all of project {name}") as step:
            with step:
                self._stop_and_remove(containers, steps, self.declared(name), {network.id for network in networks})
            for network in networks:
                with step, steps.step("remove", "network", network.name):
                    self._networks.remove(network.id)
            for volume in volumes:
                with step, steps.step("remove", "volume", volume.name):
                    self._volumes.remove(volume.name)
            with step:
                HandedOn(self._core, name).settle(self._volumes.remove_unused)

    def recover(self) -> None:
        """Undo or finish what an engine that died was doing: no project is left half up or half down."""
        records = self._core.records
        for key, intent in records.meta(_UP).items():
            name, (kind, *kept) = key.removeprefix(_UP), intent.split(" ")
            project = self.declared(name)
            if kind == "update" and project is not None:
                self.up(project, None)
                continue
            owned = [volume for volume in self._members(name)[2] if volume.name not in kept]
            self._take_down(name, owned, None)
            records.write(meta={_PROJECT + name: None, key: None})
        for key, intent in records.meta(_DOWN).items():
            self.down(key.removeprefix(_DOWN), intent == "volumes", None)

    def _stop_and_remove(
        self,
        containers: Sequence[Container],
        steps: Telling,
        project: Project | None,
        doomed_networks: Collection[str] = (),
    ) -> None:
        """Who needs others ends before them; all that may end together get their signal together."""
        needs = needs_of(containers, project)
        needed_by: dict[str, list[str]] = {container.id: [] for container in containers}
        for container_id, needed in needs.items():
            for other in needed:
                needed_by[other].append(container_id)
        self._lifecycle.stopping.ask_to_end(one for one in containers if not needed_by[one.id])
        by_id = {container.id: container for container in containers}

        def remove(container_id: str) -> None:
            endpoints = self._core.records.endpoints_of(container_id)
            with_networks = all(endpoint.network_id in doomed_networks for endpoint in endpoints)
            with steps.step("remove", "container", by_id[container_id].name):
                self._lifecycle.end_and_destroy(container_id, with_networks=with_networks)

        run_in_order(list(by_id), needed_by, remove, _STOPPERS, go_on=True)

    # --- questions ----------------------------------------------------------------------------

    def declared(self, name: str) -> Project | None:
        """What the last up() declared."""
        stored = self._core.records.meta(_PROJECT + name).get(_PROJECT + name)
        return None if stored is None else codec.loads(Project, stored)

    def names(self) -> list[str]:
        records = self._core.records
        stored = {key.removeprefix(_PROJECT) for key in records.meta(_PROJECT)}
        labels = (one.config.labels.get(PROJECT_LABEL) for one in (*records.containers, *records.networks))
        return sorted(stored | {label for label in labels if label})

    def view(self, name: str) -> ProjectView:
        containers, networks, _ = self._members(name)
        project = self.declared(name)
        if project is None and not containers and not networks:
            raise self._unknown(name)
        views = [
            ProjectNetworkView(key=one.config.labels.get(NETWORK_LABEL, one.name), network=one) for one in networks
        ]
        for declared in project.networks if project else ():
            external = self._core.records.networks.named(declared.config.name) if declared.external else None
            if external is not None:
                views.append(ProjectNetworkView(key=declared.key, network=external, external=True))
        return ProjectView(
            name=name,
            containers=tuple(self._view_of(container) for container in in_file_order(containers, project)),
            networks=tuple(views),
            expectations=project.expectations if project else (),
        )

    def _unknown(self, name: str) -> NotFound:
        names = ", ".join(self.names())
        return NotFound(f"no such project: {name}", f"there are: {names}" if names else "none is up: netmodel up FILE")

    def _view_of(self, container: Container) -> ProjectContainer:
        labels = container.config.labels
        number = labels.get(NUMBER_LABEL, "1")
        shared = container.sandbox if container.sandbox != "host" else container.id
        return ProjectContainer(
            container=container,
            service=labels.get(SERVICE_LABEL, container.name),
            number=int(number) if number.isdigit() else 1,
            endpoints=tuple(self._core.records.endpoints_of(shared)),
            netns=self._lifecycle.netns_of(container),
        )

    def _members(self, name: str) -> tuple[list[Container], list[Network], list[Volume]]:
        records = self._core.records
        return (
            [one for one in records.containers if one.config.labels.get(PROJECT_LABEL) == name],
            [one for one in records.networks if one.config.labels.get(PROJECT_LABEL) == name],
            [one for one in records.volumes() if one.config.labels.get(PROJECT_LABEL) == name],
        )

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._busy.setdefault(name, threading.Lock())
        with lock:
            yield


def _expect_room(root: Path) -> None:
    """Refuse to begin on a full disk: the little that is left is for taking down."""
    found = os.statvfs(root)
    if found.f_bfree * found.f_frsize < _ROOM_BYTES:
        raise Unavailable(f"the disk is full: cannot write {root}", f"make room on the file system of {root}")


class _Up:
    """One run of up()."""

    def __init__(self, projects: Projects, project: Project, steps: Sequence[Step], tell: Tell | None) -> None:
        self._core = projects._core
        self._projects = projects
        self._project = project
        self._steps = steps
        self._telling = Telling(tell, len(steps))
        self._declared = {container.name: container for container in project.containers}
        self._handed_on = HandedOn(projects._core, project.name)
        self._failed = Undo()  # takes back what this run created
        self._undo_lock = threading.Lock()

    def run(self) -> None:
        with self._failed:
            self._remove_containers()
            self._make_networks()
            self._make_volumes()
            self._create_containers()
            self._start_containers()
            self._remove_networks()
            self._failed.pop_all()
        self._handed_on.settle(self._projects._volumes.remove_unused)

    def _select(self, kind: str, *actions: str) -> list[Step]:
        return [step for step in self._steps if step.kind == kind and step.action in actions]

    def _remove_containers(self) -> None:
        """Orphans, and those that are made anew."""
        orphans = self._select("container", "remove")
        for step in orphans:
            with self._telling.step("remove", "container", step.name, step.reason):
                self._projects._lifecycle.end_and_destroy(step.id)
        again = self._select("container", "recreate")
        records = [found for step in again if (found := self._core.records.containers.get(step.id))]
        self._handed_on.keep(records)
        self._projects._stop_and_remove(records, Telling(None, 0), self._project)

    def _make_networks(self) -> None:
        configs = {network.config.name: network.config for network in self._project.networks}
        for step in self._select("network", "create", "recreate", "keep"):
            with self._telling.step(step.action, "network", step.name, step.reason):
                if step.action == "keep":
                    continue
                if step.action == "recreate":
                    self._projects._networks.remove(step.id)
                network = self._projects._networks.create(configs[step.name])
                self._failed.callback(self._projects._networks.remove, network.id)

    def _make_volumes(self) -> None:
        configs = {volume.config.name: volume.config for volume in self._project.volumes}
        for step in self._select("volume", "create", "keep"):
            with self._telling.step(step.action, "volume", step.name, step.reason):
                if step.action == "create":
                    self._projects._volumes.create(configs[step.name])
                    self._failed.callback(self._projects._volumes.remove, step.name)

    def _create_containers(self) -> None:
        steps = self._select("container", "create", "recreate")
        # Fixed addresses are reserved before automatic ones could take them; owners of a sandbox
        # exist before those who share it.
        steps.sort(key=lambda step: rank(self._declared[step.name], self._project))
        for step in steps:
            config = self._handed_on.give(step.name, resolved(self._declared[step.name], self._project).config)
            container = self._projects._containers.create(config, step.name)
            self._failed.callback(self._take_back, container.id)

    def _take_back(self, container_id: str) -> None:
        if self._core.records.containers.get(container_id) is not None:
            self._projects._lifecycle.end_and_destroy(container_id, kill=True)

    def _start_containers(self) -> None:
        actions = ("create", "recreate", "start", "restart", "keep")
        steps = {step.name: step for step in self._select("container", *actions)}
        records = [found for name in steps if (found := self._core.records.containers.named(name))]
        needs = needs_of(records, self._project)
        by_id = {record.id: steps[record.name] for record in records}

        def start(container_id: str) -> None:
            step = by_id[container_id]
            with self._telling.step(step.action, "container", step.name, step.reason):
                if step.action == "keep":
                    return
                self._wait_for_conditions(step.name, records)
                with at_server if container_id in leasing else starters:
                    if step.action == "restart":
                        self._projects._lifecycle.restart(container_id)
                    else:
                        self._projects._lifecycle.start(container_id)

        # Who waits for a condition keeps nobody else from starting.
        waiting = sum(any(one.condition != "service_started" for one in self._conditions(name)) for name in steps)
        starters, at_server = threading.Semaphore(_STARTERS), threading.Semaphore(_LEASING)
        leasing = {record.id for record in records if self._is_leased(record)}
        run_in_order(list(by_id), needs, start, _STARTERS + waiting + min(len(leasing), _LEASING))

    def _is_leased(self, container: Container) -> bool:
        """Whether it has to wait for an address when it starts."""
        networks = (
            self._core.records.networks.get(one.network_id) for one in self._core.records.endpoints_of(container.id)
        )
        return any(network is not None and network.config.leased for network in networks)

    def _conditions(self, name: str) -> Sequence[Dependency]:
        return self._declared[name].conditions

    def _wait_for_conditions(self, name: str, records: Sequence[Container]) -> None:
        for dependency in self._conditions(name):
            for other in records:
                if other.config.labels.get(SERVICE_LABEL) != dependency.service:
                    continue
                try:
                    wait_for(self._projects._lifecycle, other, dependency)
                except Conflict:
                    if dependency.required:
                        raise

    def _remove_networks(self) -> None:
        for step in self._select("network", "remove"):
            with self._telling.step("remove", "network", step.name, step.reason):
                self._projects._networks.remove(step.id)


def _images_of(project: Project) -> list[str]:
    """The images that its containers are made of, and those that they mount."""
    found = [declared.config.image for declared in project.containers]
    found += [mount.source for one in project.containers for mount in one.config.mounts if mount.type == "image"]
    return list(dict.fromkeys(found))
