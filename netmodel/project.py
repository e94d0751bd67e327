"""What a topology file declares, whole and resolved, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from netmodel.model import ContainerConfig, NetworkConfig, VolumeConfig

# Labels that Compose itself writes, so that its tools and ours see each other's projects.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"
CONFIG_HASH_LABEL = "com.docker.compose.config-hash"
NETWORK_LABEL = "com.docker.compose.network"
VOLUME_LABEL = "com.docker.compose.volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A service that comes first.

    Args:
        condition: How far it must have come.
        required: Else it is only tried.
        restart: When it is made anew, what depends on it is restarted.
    """

    service: str
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = "service_started"
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """When an image is fetched from its registry.

    Args:
        older_than_s: With "missing", also when it was fetched longer ago.
    """

    when: Literal["missing", "always", "never"] = "missing"
    older_than_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContainer:
    """One replica of a service.

    Args:
        name: The container's.
        number: From 1.
        depends_on: Services that start first.
        conditions: What is said of them beyond that.
        network_mode inside config may be "service:NAME": the first replica of that service.
    """

    service: str
    number: int
    name: str
    config: ContainerConfig
    depends_on: tuple[str, ...] = ()
    conditions: tuple[Dependency, ...] = ()
    pull: Pull = field(default_factory=Pull)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One line of x-expect.

    Args:
        source: A service, or "host" for the machine itself.
        target: A service, a network address or a host name.
        reachable: True for "->", False for "-/>".
        via: What is sent: "icmp", "tcp" or "udp".
        port: For tcp and udp.
        within_s: How long it may take to come true.
        network: Probe the target at its address there; "" is the first network they share, else any.
        where: "file:line" for messages.
    """

    source: str
    target: str
    reachable: bool
    via: Literal["icmp", "tcp", "udp"] = "icmp"
    port: int = 0
    family: Literal[0, 4, 6] = 0
    within_s: float = 2.0
    network: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectNetwork:
    """A network of a project by its key in the file; an external one must exist and is never removed."""

    key: str
    config: NetworkConfig
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectVolume:
    key: str
    config: VolumeConfig
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A topology, whole and resolved: all names final, all labels set, containers in the file's order."""

    name: str
    networks: tuple[ProjectNetwork, ...] = ()
    volumes: tuple[ProjectVolume, ...] = ()
    containers: tuple[ServiceContainer, ...] = ()
    expectations: tuple[Expectation, ...] = ()
