"""The engine's facade: every verb the API, the CLI and the tests know, each one call.

All methods are safe to call from any thread, block until done and raise NetmodelError alone. The
work is done by the modules beside this one; here is only who does what.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from netmodel.engine.events import EventBus
from netmodel.engine.values import ExecConfig, ExecState, Info, Progress, ProjectView
from netmodel.errors import MissingFeature, translated
from netmodel.model import (
    Container,
    ContainerConfig,
    Endpoint,
    EndpointConfig,
    Network,
    NetworkConfig,
    Project,
    Volume,
    VolumeConfig,
)

Filters = Mapping[str, Sequence[str]]
WaitCondition = Literal["not-running", "next-exit", "removed"]


class Engine:
    """One state root and everything that lives under it.

    Containers run on when the engine closes or dies; the next engine on the same root adopts them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events = EventBus()

    def open(self) -> None:
        """Lock the root, start or find the processes we work with, and repair what a crash left.

        Raises:
            NetmodelError: Not root; another engine holds this root; its format is another version's.
        """
        raise MissingFeature("not built yet")

    def close(self) -> None:
        """Let go of the root. Containers run on."""

    def __enter__(self) -> Engine:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- networks -----------------------------------------------------------------------------

    @translated
    def create_network(self, config: NetworkConfig) -> Network:
        raise MissingFeature("not built yet")

    @translated
    def remove_network(self, ref: str) -> None:
        raise MissingFeature("not built yet")

    @translated
    def network(self, ref: str) -> Network:
        """By name, id or unique beginning of the id."""
        raise MissingFeature("not built yet")

    @translated
    def networks(self, filters: Filters | None = None) -> list[Network]:
        """Filters as Docker's: dangling, driver, id, label, name, scope, type."""
        raise MissingFeature("not built yet")

    @translated
    def connect(self, network_ref: str, container_ref: str, config: EndpointConfig | None = None) -> Endpoint:
        """Attach a container; a running one gets the link at once."""
        raise MissingFeature("not built yet")

    @translated
    def disconnect(self, network_ref: str, container_ref: str, force: bool = False) -> None:
        raise MissingFeature("not built yet")

    @translated
    def prune_networks(self, filters: Filters | None = None) -> list[str]:
        """Remove networks nobody is on; returns their names."""
        raise MissingFeature("not built yet")

    @translated
    def endpoints(self, container_id: str | None = None, network_id: str | None = None) -> list[Endpoint]:
        """In the order of their interfaces (of one container) or of their making."""
        raise MissingFeature("not built yet")

    # --- containers ---------------------------------------------------------------------------

    @translated
    def create_container(self, config: ContainerConfig, name: str = "") -> Container:
        raise MissingFeature("not built yet")

    @translated
    def start(self, ref: str) -> None:
        """Run it.

        Raises:
            NotModified: It runs.
            StartRefused: Its program cannot be run; code 126 or 127 says why.
        """
        raise MissingFeature("not built yet")

    @translated
    def stop(self, ref: str, timeout_s: float | None = None) -> None:
        """Ask it to end, then kill it. timeout_s: None is the container's own, negative waits for ever."""
        raise MissingFeature("not built yet")

    @translated
    def restart(self, ref: str, timeout_s: float | None = None) -> None:
        """Stop and start; its sandbox, links and addresses stay as they are."""
        raise MissingFeature("not built yet")

    @translated
    def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        raise MissingFeature("not built yet")

    @translated
    def remove(self, ref: str, force: bool = False, volumes: bool = False) -> None:
        """Remove it. volumes: its anonymous ones too."""
        raise MissingFeature("not built yet")

    @translated
    def rename(self, ref: str, name: str) -> None:
        raise MissingFeature("not built yet")

    @translated
    def container(self, ref: str) -> Container:
        """By name, id or unique beginning of the id."""
        raise MissingFeature("not built yet")

    @translated
    def containers(self, all: bool = True, filters: Filters | None = None) -> list[Container]:  # noqa: A002 - Docker's word
        """Newest first. Filters as Docker's: id, name, label, status, network, volume, ancestor, exited."""
        raise MissingFeature("not built yet")

    @translated
    def wait(self, ref: str, condition: WaitCondition = "not-running") -> Future[int]:
        """The exit code, once the condition holds."""
        raise MissingFeature("not built yet")

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
        stop: threading.Event | None = None,
    ) -> Iterator[Any]:
        """Entries (runtime.logs.LogEntry: time, stream, log), oldest first.

        follow goes on until the container ends or `stop` is set.
        """
        raise MissingFeature("not built yet")

    @translated
    def pause(self, ref: str) -> None:
        raise MissingFeature("not built yet")

    @translated
    def unpause(self, ref: str) -> None:
        raise MissingFeature("not built yet")

    @translated
    def stats(self, ref: str) -> Any:
        """runtime.cgroups' Stats of a running container."""
        raise MissingFeature("not built yet")

    @translated
    def sandbox_path(self, container_id: str) -> Path | None:
        """The path of its network namespace, good while the spawner lives; None when there is none."""
        raise MissingFeature("not built yet")

    @translated
    def image_of(self, container_id: str) -> Any:
        """runtime.images' Image that the container was made from."""
        raise MissingFeature("not built yet")

    # --- exec ---------------------------------------------------------------------------------

    @translated
    def exec_create(self, ref: str, config: ExecConfig) -> str:
        """Prepare a program in a running container; returns the exec's id."""
        raise MissingFeature("not built yet")

    @translated
    def exec_start(self, exec_id: str) -> Any:
        """Run it; returns runtime.client's ExecHandle with its descriptors and wait()."""
        raise MissingFeature("not built yet")

    @translated
    def exec_inspect(self, exec_id: str) -> ExecState:
        raise MissingFeature("not built yet")

    @translated
    def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        raise MissingFeature("not built yet")

    @translated
    def resize(self, ref: str, rows: int, columns: int) -> None:
        """The size of the container's own terminal."""
        raise MissingFeature("not built yet")

    # --- volumes ------------------------------------------------------------------------------

    @translated
    def create_volume(self, config: VolumeConfig) -> Volume:
        """Create it, or return the one of that name."""
        raise MissingFeature("not built yet")

    @translated
    def volume(self, name: str) -> Volume:
        raise MissingFeature("not built yet")

    @translated
    def volumes(self, filters: Filters | None = None) -> list[Volume]:
        """Filters as Docker's: dangling, driver, label, name."""
        raise MissingFeature("not built yet")

    @translated
    def volume_path(self, name: str) -> Path:
        raise MissingFeature("not built yet")

    @translated
    def remove_volume(self, name: str, force: bool = False) -> None:
        raise MissingFeature("not built yet")

    @translated
    def prune_volumes(self, filters: Filters | None = None) -> list[str]:
        """Remove anonymous volumes nobody uses; returns their names. Filter all=true: named ones too."""
        raise MissingFeature("not built yet")

    # --- projects -----------------------------------------------------------------------------

    @translated
    def up(self, project: Project, progress: Callable[[Progress], None] | None = None) -> None:
        """Make the project stand: plan, then apply only what differs."""
        raise MissingFeature("not built yet")

    @translated
    def down(self, name: str, volumes: bool = False, progress: Callable[[Progress], None] | None = None) -> None:
        """Remove a project's containers and networks, and its volumes if asked."""
        raise MissingFeature("not built yet")

    @translated
    def plan(self, project: Project) -> list[Any]:
        """What up() would do: netmodel.topology.plan's Steps."""
        raise MissingFeature("not built yet")

    @translated
    def project(self, name: str) -> ProjectView:
        raise MissingFeature("not built yet")

    @translated
    def projects(self) -> list[str]:
        """Their names, sorted."""
        raise MissingFeature("not built yet")

    # --- the engine itself --------------------------------------------------------------------

    @translated
    def info(self) -> Info:
        raise MissingFeature("not built yet")

    @property
    def spawner_pid(self) -> int:
        """The process that is every container's parent and holds their namespaces."""
        raise MissingFeature("not built yet")
