"""The engine's facade: every verb the API, the CLI and the tests know, each one call.

All methods are safe to call from any thread, block until done and raise NetmodelError alone. The
work is done by the modules beside this one; here is only who does what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ipam.api import Usage
from netmodel.engine import queries
from netmodel.engine.assembly import Parts, assemble
from netmodel.engine.core import Core
from netmodel.engine.events import EventBus
from netmodel.engine.files import ContainerFiles, hostname_in
from netmodel.engine.filters import Filters
from netmodel.engine.images import EngineImages
from netmodel.engine.links import linked, linking
from netmodel.engine.processes import Processes, processes
from netmodel.engine.remarks import remarks
from netmodel.engine.settings import Settings, said
from netmodel.engine.values import ExecConfig, ExecState, Health, Info, PortExposure, Progress, ProjectView
from netmodel.errors import Unavailable, translated
from netmodel.model import (
    Container,
    ContainerConfig,
    Endpoint,
    EndpointConfig,
    IPAddress,
    Network,
    NetworkConfig,
    NetworkPool,
    PortConfig,
    Volume,
    VolumeConfig,
)
from netmodel.project import Project
from netmodel.topology.plan import Step
from runtime.archive import PathStat
from runtime.cgroups import Stats
from runtime.changes import Change
from runtime.client import ExecHandle
from runtime.images import Image
from runtime.logs import LogEntry, Stop

WaitCondition = Literal["not-running", "next-exit", "removed"]


class Engine:
    """One state root and everything that lives under it.

    Containers run on when the engine closes or dies; the next engine on the same root adopts them.

    Args:
        settings: Its pools go before those of engine.json under the root.
    """

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self.root = root
        self._settings = settings
        self.events = EventBus()
        self._opened: Parts | None = None
        self._warnings: list[str] = []

    @translated
    def open(self) -> None:
        """Lock the root, start or find the processes we work with, and repair what a crash left.

        Raises:
            NetmodelError: Not root; another engine holds this root; its format is another version's.
        """
        parts = assemble(self.root, self.events, self._warnings, self._settings)
        self.root = parts.core.root.path
        self._opened = parts

    @translated
    def close(self) -> None:
        """Let go of the root. Containers run on."""
        parts, self._opened = self._opened, None
        if parts is not None:
            parts.close()

    @property
    def _parts(self) -> Parts:
        if self._opened is None:
            raise Unavailable("the engine is not open")
        return self._opened

    @property
    def _core(self) -> Core:
        return self._parts.core

    def __enter__(self) -> Engine:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- networks -----------------------------------------------------------------------------

    @translated
    def create_network(self, config: NetworkConfig) -> Network:
        return self._parts.networks.create(config)

    @translated
    def remove_network(self, ref: str) -> None:
        self._parts.networks.remove(ref)

    @translated
    def network(self, ref: str) -> Network:
        """By name, id or unique beginning of the id."""
        return self._core.records.networks.find(ref)

    @translated
    def advice(self, ref: str) -> list[str]:
        """What about a network works, but not as one would wish; a sentence each."""
        return self._parts.networks.advice(self._core.records.networks.find(ref))

    @translated
    def usage(self, ref: str) -> list[tuple[NetworkPool, Usage]]:
        """A network's pools, each with ipam.api's Usage: how full it is."""
        return self._parts.networks.usage(self.network(ref))

    @translated
    def networks(self, filters: Filters | None = None) -> list[Network]:
        """Filters as Docker's: dangling, driver, id, label, name, scope, type."""
        return queries.networks(self._core, filters)

    @translated
    def connect(self, network_ref: str, container_ref: str, config: EndpointConfig | None = None) -> Endpoint:
        """Attach a container; a running one gets the link at once."""
        return self._parts.connections.connect(network_ref, container_ref, config)

    @translated
    def disconnect(self, network_ref: str, container_ref: str, force: bool = False) -> None:
        self._parts.connections.disconnect(network_ref, container_ref, force)

    @translated
    def unlink(self, container_ref: str, alias: str) -> None:
        """End a legacy link of a container on the default network."""
        self._parts.connections.unlink(container_ref, alias)

    @translated
    def links(self, container_id: str) -> list[tuple[str, str]]:
        """Its legacy links on the default network: each other container's name, and what it is called here."""
        found = [linked(self._core, one) for one in self._core.records.endpoints_of(container_id)]
        return [(one.container.name, one.alias) for ends in found for one in ends]

    @translated
    def prune_networks(self, filters: Filters | None = None) -> list[str]:
        """Remove networks nobody is on; returns their names."""
        return queries.prune_networks(self._core, self._parts.networks, filters)

    @translated
    def endpoints(self, container_id: str | None = None, network_id: str | None = None) -> list[Endpoint]:
        """In the order of their interfaces (of one container) or of their making."""
        return queries.endpoints(self._core, container_id, network_id)

    # --- containers ---------------------------------------------------------------------------

    @translated
    def create_container(self, config: ContainerConfig, name: str = "") -> Container:
        return self._parts.containers.create(config, name)

    @translated
    def start(self, ref: str) -> None:
        """Run it.

        Raises:
            NotModified: It runs.
            StartRefused: Its program cannot be run; code 126 or 127 says why.
        """
        self._parts.lifecycle.start(ref)

    @translated
    def stop(self, ref: str, timeout_s: float | None = None, signal: str = "") -> None:
        """Ask it to end, then kill it.

        Args:
            timeout_s: None is the container's own, negative waits for ever.
            signal: Instead of the container's own stop signal.
        """
        self._parts.lifecycle.stop(ref, timeout_s, signal)

    @translated
    def restart(self, ref: str, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop as stop() does and start; its sandbox, links and addresses stay as they are."""
        self._parts.lifecycle.restart(ref, timeout_s, signal)

    @translated
    def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        self._parts.lifecycle.kill(ref, signal)

    @translated
    def remove(self, ref: str, force: bool = False, volumes: bool = False) -> None:
        """Remove it. volumes: its anonymous ones too."""
        self._parts.lifecycle.remove(ref, force, volumes)

    @translated
    def rename(self, ref: str, name: str) -> None:
        linked_to_it = linking(self._core, self._core.records.containers.find(ref).id)
        with self._parts.lifecycle.name_files.following(linked_to_it):
            self._parts.containers.rename(ref, name)

    @translated
    def container(self, ref: str) -> Container:
        """By name, id or unique beginning of the id."""
        return self._core.records.containers.find(ref)

    @translated
    def containers(self, all: bool = True, filters: Filters | None = None) -> list[Container]:  # noqa: A002 - Docker's word
        """Newest first. Filters as Docker's: id, name, label, status, network, volume, ancestor, exited."""
        return queries.containers(self._core, all, filters)

    @translated
    def prune_containers(self, filters: Filters | None = None) -> tuple[list[str], int]:
        """Remove those that do not run; their ids, and the bytes that this frees. Filters: label, label!, until."""
        return queries.prune_containers(self._core, self._parts.lifecycle, filters)

    @translated
    def wait(self, ref: str, condition: WaitCondition = "not-running") -> Future[int]:
        """The exit code, once the condition holds."""
        return self._parts.lifecycle.wait(ref, condition)

    @translated
    def health(self, ref: str) -> Health | None:
        """What its health check has found; None without one."""
        return self._parts.lifecycle.health.of(self._core.records.containers.find(ref))

    @translated
    def top(self, ref: str, ps_args: str = "") -> Processes:
        """Its processes, as ps tells of them."""
        container = self._core.records.containers.find(ref)
        found = processes(self._parts.lifecycle, container, ps_args)
        self._parts.containers.event("top", container)
        return found

    @translated
    def changes(self, ref: str) -> list[Change]:
        """What it has changed of its image."""
        return self._parts.containers.changes(self._core.records.containers.find(ref))

    @translated
    def container_sizes(self, ref: str) -> tuple[int, int]:
        """Bytes on the disk of what it has written, and of that with its image."""
        return self._parts.containers.sizes(self._core.records.containers.find(ref))

    @translated
    def stat_path(self, ref: str, path: str) -> PathStat:
        """Look at a path in a container, running or not."""
        return self._parts.copying.stat(ref, path)

    @translated
    def copy_out(self, ref: str, path: str) -> Iterator[bytes]:
        """A tar stream of what is at a path, to be iterated over in one thread."""
        return self._parts.copying.read(ref, path)

    @translated
    def copy_in(
        self, ref: str, path: str, source: int, *, keep_owners: bool = False, replace_kinds: bool = True
    ) -> None:
        """Unpack a tar stream, read from a descriptor, into a directory of a container."""
        self._parts.copying.write(ref, path, source, keep_owners, replace_kinds)

    @translated
    def commit(
        self,
        ref: str,
        name: str = "",
        *,
        author: str = "",
        comment: str = "",
        changes: Mapping[str, Any] | None = None,
        pause: bool = True,
    ) -> Image:
        """Make an image of what it has written and how it ran; it is frozen meanwhile unless pause is false.

        Args:
            changes: Members of an image's configuration, as "Cmd" and "Env".
        """
        return self._parts.committing.commit(
            ref, name, author=author, comment=comment, changes=changes or {}, pause=pause
        )

    @translated
    def files_of(self, ref: str) -> ContainerFiles:
        """Its /etc/hosts and the like, on the host; of one that shares a network they are the owner's."""
        container = self._core.records.containers.find(ref)
        return self._parts.containers.files(container.id if container.sandbox == "host" else container.sandbox)

    @translated
    def log_path(self, ref: str) -> Path:
        """The file that what it prints is written to, a JSON object a line."""
        return self._parts.containers.files(self._core.records.containers.find(ref).id).log

    @translated
    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        stdout: bool = True,
        stderr: bool = True,
        stop: Stop | None = None,
    ) -> Iterator[LogEntry]:
        """What it wrote, oldest first.

        Args:
            follow: Go on until the container ends or stop is set.
            stop: A runtime.logs.StopSignal is noticed at once, a threading.Event within 0.2 s.
        """
        streams = tuple(name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted)
        return self._parts.logs.read(ref, follow, tail, since, until, streams, stop)

    @translated
    def update(self, ref: str, changes: Mapping[str, Any]) -> Container:
        """Change limits by the names of ContainerConfig's fields; takes effect at once."""
        return self._parts.limits.update(ref, changes)

    @translated
    def pause(self, ref: str) -> None:
        self._parts.lifecycle.pause(ref)

    @translated
    def unpause(self, ref: str) -> None:
        self._parts.lifecycle.unpause(ref)

    @translated
    def stats(self, ref: str) -> Stats:
        """runtime.cgroups' Stats of a running container."""
        return self._parts.lifecycle.stats(ref)

    @translated
    def sandbox_path(self, container_id: str) -> Path | None:
        """The path of its network namespace, good while the spawner lives; None when there is none."""
        return self._parts.lifecycle.netns_of(self._core.records.containers.find(container_id))

    @translated
    def exposures(self, container_id: str) -> list[PortExposure]:
        """How far each of its published ports is really reached, given everybody's rules on the host."""
        return self._parts.exposures.of(self._core.records.containers.find(container_id))

    @translated
    def published(self, container: Container) -> list[tuple[PortConfig, tuple[IPAddress, ...]]]:
        """Each published port of one that runs, with the host's addresses at which it is."""
        return self._parts.exposures.published(container)

    @translated
    def remarks(self, container: Container) -> list[str]:
        """What will not be as one may think of a container that was just created; a sentence each."""
        return remarks(self._core, self._parts.exposures, container)

    @translated
    def hostname_of(self, container: Container) -> str:
        """Which it has, or will have when it starts."""
        return hostname_in(container, self._core.records.containers.get(container.sandbox))

    @translated
    def image_of(self, container_id: str) -> Image:
        """runtime.images' Image that the container was made from."""
        return self._parts.containers.image_of(self._core.records.containers.find(container_id))

    # --- exec ---------------------------------------------------------------------------------

    @translated
    def exec_create(self, ref: str, config: ExecConfig) -> str:
        """Prepare a program in a running container; returns the exec's id."""
        return self._parts.execs.create(ref, config)

    @translated
    def exec_start(self, exec_id: str) -> ExecHandle:
        """Run it; returns runtime.client's ExecHandle with its descriptors and wait()."""
        return self._parts.execs.start(exec_id)

    @translated
    def running_execs(self, ref: str) -> list[str]:
        return self._parts.execs.running(self._core.records.containers.find(ref).id)

    @translated
    def exec_inspect(self, exec_id: str) -> ExecState:
        return self._parts.execs.inspect(exec_id)

    @translated
    def exec_detached(self, exec_id: str) -> None:
        """Tell who listens that who was at its terminal has left, and it runs on."""
        self._parts.execs.detached(exec_id)

    @translated
    def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        self._parts.execs.resize(exec_id, rows, columns)

    @translated
    def resize(self, ref: str, rows: int, columns: int) -> None:
        """The size of the container's own terminal."""
        container = self._core.records.containers.find(ref)
        self._core.spawner.resize(container.id, rows, columns)
        self._parts.containers.event("resize", container, height=str(rows), width=str(columns))

    @translated
    def attach(self, ref: str, streams: Sequence[str], *, framed: bool) -> tuple[int, datetime]:
        """A descriptor to read what its first process prints from now on, in this life or its next one.

        Args:
            framed: Each piece has a header, see runtime.frame.

        Returns:
            The descriptor, which ends with that life and is the caller's to close, and the time of now: what was
            printed before is in the log.
        """
        container = self._core.records.containers.find(ref)
        descriptor, at = self._core.spawner.attach(container.id, streams, framed=framed)
        self._parts.containers.event("attach", container)
        return descriptor, datetime.fromisoformat(f"{at[:26]}+00:00")

    @translated
    def detached(self, ref: str) -> None:
        """Tell who listens that who was at its terminal has left, and it runs on."""
        self._parts.containers.event("detach", self._core.records.containers.find(ref))

    @translated
    def input(self, ref: str) -> int:
        """A descriptor that writes to its first process's input (or terminal); the caller closes it.

        The process reads the end of its input once all such are closed and close_input() was called.
        """
        return self._core.spawner.input(self._core.records.containers.find(ref).id)

    @translated
    def close_input(self, ref: str) -> None:
        self._core.spawner.close_input(self._core.records.containers.find(ref).id)

    # --- volumes ------------------------------------------------------------------------------

    @translated
    def create_volume(self, config: VolumeConfig) -> Volume:
        """Create it, or return the one of that name."""
        return self._parts.volumes.create(config)

    @translated
    def volume(self, name: str) -> Volume:
        return self._parts.volumes.get(name)

    @translated
    def volumes(self, filters: Filters | None = None) -> list[Volume]:
        """Filters as Docker's: dangling, driver, label, name."""
        return queries.volumes(self._core, self._parts.volumes, filters)

    @translated
    def volume_path(self, name: str) -> Path:
        return self._parts.volumes.path(name)

    @translated
    def remove_volume(self, name: str, force: bool = False) -> None:
        self._parts.volumes.remove(name, force)

    @translated
    def volume_users(self, name: str) -> int:
        """How many containers have it."""
        return len(self._parts.volumes.users(name))

    @translated
    def volume_usage(self, name: str) -> tuple[int, int]:
        """Bytes that it takes on the disk, and how many containers have it."""
        return self._parts.volumes.usage(name), self.volume_users(name)

    @translated
    def prune_volumes(self, filters: Filters | None = None) -> tuple[list[str], int]:
        """Remove anonymous volumes nobody uses: their names and the bytes they had. Filter all=true: named ones too."""
        return queries.prune_volumes(self._core, self._parts.volumes, filters)

    # --- images -------------------------------------------------------------------------------

    @property
    def images(self) -> EngineImages:
        """Pull, push, load, save, tag, remove and list them."""
        return self._parts.images

    # --- projects -----------------------------------------------------------------------------

    @translated
    def up(self, project: Project, progress: Callable[[Progress], None] | None = None) -> None:
        """Make the project stand: plan, then apply only what differs."""
        self._parts.projects.up(project, progress)

    @translated
    def down(self, name: str, volumes: bool = False, progress: Callable[[Progress], None] | None = None) -> None:
        """Remove a project's containers and networks, and its volumes if asked."""
        self._parts.projects.down(name, volumes, progress)

    @translated
    def plan(self, project: Project) -> list[Step]:
        """What up() would do: netmodel.topology.plan's Steps."""
        return list(self._parts.projects.plan(project))

    @translated
    def project(self, name: str) -> ProjectView:
        return self._parts.projects.view(name)

    @translated
    def projects(self) -> list[str]:
        """Their names, sorted."""
        return self._parts.projects.names()

    # --- the engine itself --------------------------------------------------------------------

    @translated
    def info(self) -> Info:
        return queries.info(self._core, self._warnings)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was told, by the keys of engine.json."""
        return said(self._core.settings)

    @property
    def spawner_pid(self) -> int:
        """The process that is every container's parent and holds their namespaces."""
        return self._core.spawner.pid
