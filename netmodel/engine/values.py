"""The values that only the engine's callers see: what is asked of exec, what is told of a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from netmodel.model import Container, Endpoint, IPAddress, Network, PortConfig
from netmodel.project import Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecConfig:
    """A program to run beside a container's first process.

    Args:
        environment: Added to the container's own.
        working_dir: "" is the container's.
        user: "" is the container's.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    privileged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecState:
    """What became of an exec.

    Args:
        exit_code: None until it ended.
    """

    id: str
    container_id: str
    config: ExecConfig
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthResult:
    """One run of a health check; exit_code -1: it could not be run, or took too long."""

    start: datetime
    end: datetime
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of a container's health.

    Args:
        log: The latest few results, oldest first.
    """

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, in Docker's words.

    Args:
        type: "container", "network", "volume", "image", "daemon".
        action: "create", "start", "die", "oom", "stop", "kill", "destroy", "connect", ...
        attributes: Among them "name"; a container's labels too.
    """

    type: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of an up or a down.

    Args:
        action: "create", "recreate", "start", "stop", "remove", "keep".
        kind: "network", "volume" or "container".
        detail: Why it is done, or why it failed.
        done, total: Steps finished so far and in all.
    """

    action: str
    kind: str
    name: str
    state: Literal["started", "done", "failed"]
    detail: str = ""
    took_s: float = 0.0
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectContainer:
    """A container of a project, and the path of its network namespace while there is one."""

    container: Container
    service: str
    number: int
    endpoints: tuple[Endpoint, ...]
    netns: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectNetworkView:
    """A network of a project by its key in the file."""

    key: str
    network: Network
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """A project as it stands."""

    name: str
    containers: tuple[ProjectContainer, ...]
    networks: tuple[ProjectNetworkView, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortExposure:
    """How far a published port is really reached in one address family, given everybody's rules on the host.

    Args:
        port: As the container's record has it.
        address: Where it is reached: of the host, or the container's own on a network that is routed to.
        state: "partly" is to some only, and rules decide to whom that cannot be judged from here.
        why: Whose rules block it.
        relayed: The engine carries it, where the kernel's translation cannot: the container sees its
            gateway's address instead of the client's.
    """

    port: PortConfig
    address: IPAddress
    number: int
    state: Literal["open", "partly", "blocked", "host"]
    why: str = ""
    relayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The engine in a few figures."""

    id: str
    root: Path
    version: str
    pid: int
    spawner_pid: int
    kernel: str
    cpus: int
    memory_bytes: int
    cgroup_version: str
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    networks: int
    settings: Mapping[str, Any]  # by their keys in engine.json, those that somebody said
    forwards: bool  # IPv4 packets between links of the host
    storage_driver: str
    apparmor: bool  # the machine confines by it
    cdi_directories: tuple[str, ...]
    cdi_devices: tuple[str, ...]
    warnings: tuple[str, ...] = ()
