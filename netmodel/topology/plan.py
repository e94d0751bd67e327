"""What `up` has to do: the difference between what is declared and what is there, each step with its reason.

Pure: records go in, steps come out, in the order in which they can be taken. A container follows
what it depends on, and is made anew when a network it is attached to, or the container whose network
stack it shares, is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from netmodel.errors import Conflict
from netmodel.model import (
    Container,
    ContainerConfig,
    Endpoint,
    MountConfig,
    Network,
    NetworkConfig,
    Volume,
    VolumeConfig,
)
from netmodel.project import (
    CONFIG_HASH_LABEL,
    NUMBER_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    Project,
    ProjectNetwork,
    ProjectVolume,
    ServiceContainer,
)
from netmodel.topology.config_hash import own_labels

_ID_LENGTH = 64  # of the name of an anonymous volume

Action = Literal["create", "recreate", "remove", "start", "restart", "keep"]
Kind = Literal["network", "volume", "container"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, or to leave alone.

    Args:
        name: Of the network, volume or container.
        reason: Why, in words that stand alone.
        id: Of the record that is there; "" for one to create.
    """

    action: Action
    kind: Kind
    name: str
    reason: str
    id: str = ""


def plan(
    project: Project,
    networks: Iterable[Network],
    endpoints: Iterable[Endpoint],
    containers: Iterable[Container],
    volumes: Iterable[Volume],
    images: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """Compare a project with the engine's records.

    Args:
        networks, endpoints, containers, volumes: All of the engine's, whoever they belong to.
        images: Ids by the names that the project has for them, as far as they are here.

    Returns:
        Orphaned containers to remove first, then networks, volumes and containers as they are
        needed, then orphaned networks.

    Raises:
        Conflict: A name belongs to somebody else, or something declared external is not there;
            tells of all such.
    """
    return _Planner(project, networks, endpoints, containers, volumes, images or {}).steps()


class _Planner:
    def __init__(
        self,
        project: Project,
        networks: Iterable[Network],
        endpoints: Iterable[Endpoint],
        containers: Iterable[Container],
        volumes: Iterable[Volume],
        images: Mapping[str, str],
    ) -> None:
        self._project = project
        self._images = images
        self._networks = {network.name: network for network in networks}
        self._containers = {container.name: container for container in containers}
        self._volumes = {volume.name: volume for volume in volumes}
        self._attached: dict[str, set[str]] = {}  # container id to ids of networks
        self._users: dict[str, set[str]] = {}  # network id to ids of containers
        for endpoint in endpoints:
            self._attached.setdefault(endpoint.container_id, set()).add(endpoint.network_id)
            self._users.setdefault(endpoint.network_id, set()).add(endpoint.container_id)
        self._declared = {container.name for container in project.containers}
        self._first: dict[str, str] = {}  # service to the name of its first container
        self._names: dict[str, set[str]] = {}  # service to the names of its containers
        for container in project.containers:
            self._first.setdefault(container.service, container.name)
            self._names.setdefault(container.service, set()).add(container.name)
        self._remade: dict[str, str] = {}  # names of networks made anew, and why
        self._replaced: set[str] = set()  # names of containers made anew
        self._problems: list[tuple[str, str]] = []  # what is in the way, and the way out

    def steps(self) -> tuple[Step, ...]:
        network_steps = [step for network in self._project.networks if (step := self._network(network))]
        volume_steps = [step for volume in self._project.volumes if (step := self._volume(volume))]
        container_steps = [self._container(container) for container in in_order(self._project.containers)]
        if self._problems:
            hints = dict.fromkeys(hint for _, hint in self._problems)
            raise Conflict("\n".join(message for message, _ in self._problems), "; ".join(hints))
        return (
            *self._orphaned_containers(),
            *network_steps,
            *volume_steps,
            *container_steps,
            *self._orphaned_networks(),
        )

    # --- networks and volumes -----------------------------------------------------------------------

    def _network(self, declared: ProjectNetwork) -> Step | None:
        name = declared.config.name
        there = self._networks.get(name)
        if declared.external:
            if there is None:
                self._problem(f'network "{name}" is declared external and does not exist', "create it first")
            return None
        if there is None:
            self._remade[name] = ""
            how = "; addresses by DHCP" if declared.config.leased else ""
            return Step("create", "network", name, f"it does not exist yet{how}")
        if not self._is_ours(there.config.labels):
            self._problem(
                f'a network "{name}" exists and does not belong to project "{self._project.name}"',
                "give it another name:, or use it as it is with external: true",
            )
            return None
        reason = "it was left half-made" if there.state != "ready" else _difference(there.config, declared.config)
        if not reason:
            return Step("keep", "network", name, "it is as declared", there.id)
        self._remade[name] = f"network {name} is made anew"
        self._refuse_strangers(there)
        return Step("recreate", "network", name, reason, there.id)

    def _refuse_strangers(self, network: Network) -> None:
        """A network that others use cannot be made anew under their feet."""
        users = self._users.get(network.id, set())
        strangers = sorted(
            container.name
            for container in self._containers.values()
            if container.id in users and not self._is_ours(container.config.labels)
        )
        if strangers:
            self._problem(
                f'network "{network.name}" has changed, but {", ".join(strangers)} of another project uses it',
                "disconnect what is not of this project",
            )

    def _volume(self, declared: ProjectVolume) -> Step | None:
        name = declared.config.name
        there = self._volumes.get(name)
        if there is None and declared.external:
            self._problem(f'volume "{name}" is declared external and does not exist', "create it first")
            return None
        if declared.external:
            return None
        if there is None:
            return Step("create", "volume", name, "it does not exist yet")
        changed = _difference(there.config, declared.config)
        # A volume is never made anew by itself: what is in it would be lost.
        reason = f"{changed}, but its data is kept; remove the volume to apply that" if changed else "it is as declared"
        return Step("keep", "volume", name, reason, there.name)

    def _orphaned_networks(self) -> list[Step]:
        declared = {network.config.name for network in self._project.networks}
        return [
            Step("remove", "network", network.name, "it is no longer declared", network.id)
            for network in self._networks.values()
            if self._is_ours(network.config.labels) and network.name not in declared
        ]

    # --- containers ---------------------------------------------------------------------------------

    def _container(self, declared: ServiceContainer) -> Step:
        there = self._containers.get(declared.name)
        if there is None:
            self._replaced.add(declared.name)
            return Step("create", "container", declared.name, "it does not exist yet")
        if not self._is_ours(there.config.labels):
            self._problem(
                f'a container "{declared.name}" exists and does not belong to project "{self._project.name}"',
                "remove or rename the one that is there, or choose another container_name",
            )
        reason = self._why_recreate(declared, there)
        if reason:
            self._replaced.add(declared.name)
            return Step("recreate", "container", declared.name, reason, there.id)
        if there.state.running:
            for dependency in declared.conditions:
                if dependency.restart and self._replaced & self._names.get(dependency.service, set()):
                    reason = f"{dependency.service}, on which it depends, is made anew"
                    return Step("restart", "container", declared.name, reason, there.id)
            return Step("keep", "container", declared.name, "it runs as declared", there.id)
        status = "was created, but never started" if there.state.status == "created" else "does not run"
        if there.state.status == "exited":
            status = f"has exited with {there.state.exit_code}"
        return Step("start", "container", declared.name, f"it {status}", there.id)

    def _why_recreate(self, declared: ServiceContainer, there: Container) -> str:
        if there.creating or there.removing:
            return "it was left half-made"
        reason = _difference(there.config, declared.config)
        if reason:
            return reason
        mounted = ((mount.source, mount.image_id) for mount in there.config.mounts)
        for name, image_id in ((there.config.image, there.image_id), *mounted):
            if image_id and self._images.get(name, image_id) != image_id:
                return f"{name} is another image now"
        attached = self._attached.get(there.id, set())
        for endpoint in declared.config.networks:
            if endpoint.network in self._remade:
                return self._remade[endpoint.network] or f"network {endpoint.network} is new"
            network = self._networks.get(endpoint.network)
            if network is not None and network.id not in attached:
                return f"it is not connected to network {endpoint.network}"
        config = declared.config
        for mode, what in ((config.network_mode, "network"), (config.pid_mode, "processes"), (config.ipc_mode, "IPC")):
            owner = self._owner(mode)
            if owner in self._replaced:
                return f"it shares the {what} of {owner}, which is made anew"
        for one in config.volumes_from:
            owner = self._owner(one.container if ":" in one.container else f"container:{one.container}")
            if owner in self._replaced:
                return f"it has the volumes of {owner}, which is made anew"
        return ""

    def _owner(self, mode: str) -> str:
        """The name of the container whose namespace is shared, or ""."""
        kind, _, name = mode.partition(":")
        if kind == "service":
            return self._first.get(name, "")
        return name if kind == "container" else ""

    def _orphaned_containers(self) -> list[Step]:
        services = {container.service for container in self._project.containers}
        steps = []
        for container in self._containers.values():
            if container.name in self._declared or not self._is_ours(container.config.labels):
                continue
            service = container.config.labels.get(SERVICE_LABEL, "")
            number = container.config.labels.get(NUMBER_LABEL, "")
            reason = (
                f"service {service} has fewer replicas than {number} now"
                if service in services and number.isdigit()
                else f"service {service} is no longer declared"
            )
            steps.append(Step("remove", "container", container.name, reason, container.id))
        return steps

    def _problem(self, message: str, hint: str) -> None:
        self._problems.append((message, hint))

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(PROJECT_LABEL) == self._project.name


def in_order(containers: Sequence[ServiceContainer]) -> list[ServiceContainer]:
    """Containers with those before them that they depend on; else in the file's order.

    One walk over services and their edges: a cycle (the loader refuses them) is cut where it closes.
    """
    members: dict[str, list[ServiceContainer]] = {}
    for container in containers:
        members.setdefault(container.service, []).append(container)
    ordered: list[ServiceContainer] = []
    seen: set[str] = set()
    for start in members:
        if start in seen:
            continue
        seen.add(start)
        walks = [(start, iter(members[start][0].depends_on))]
        while walks:  # not recursive: a chain may be thousands long
            service, needs = walks[-1]
            for need in needs:
                if need in members and need not in seen:
                    seen.add(need)
                    walks.append((need, iter(members[need][0].depends_on)))
                    break
            else:
                walks.pop()
                ordered += members[service]
    return ordered


def _difference(there: ContainerConfig | NetworkConfig | VolumeConfig, declared: object) -> str:
    """What changed, in words; "" if nothing did. The hash decides, the fields explain."""
    assert isinstance(declared, ContainerConfig | NetworkConfig | VolumeConfig)
    if there.labels.get(CONFIG_HASH_LABEL) == declared.labels.get(CONFIG_HASH_LABEL):
        return ""
    changed = []
    for field in dataclasses.fields(declared):
        before, now = getattr(there, field.name), getattr(declared, field.name)
        if field.name == "labels":
            before, now = own_labels(before), own_labels(now)
        if before != now and not (isinstance(there, ContainerConfig) and _is_of_image(field.name, before, now)):
            changed.append(_WORDS.get(field.name, field.name))
    return f"{', '.join(changed)} changed" if changed else "its configuration changed"


def _is_of_image(name: str, before: Any, now: Any) -> bool:
    """Whether a container has taken over from its image what the file does not say."""
    if name == "stop_signal":
        return not now
    if name == "mounts":
        return _are_mounts_of_image(before, now)
    more: bool = name in ("exposed_ports", "ports") and before[: len(now)] == now
    return more


def _are_mounts_of_image(before: Sequence[MountConfig], now: Sequence[MountConfig]) -> bool:
    """Anonymous volumes have got names since, and those of the image follow the others."""
    named = [replace(there, source="") if not wish.source else there for there, wish in zip(before, now, strict=False)]
    return named == list(now) and all(len(one.source) == _ID_LENGTH for one in before[len(now) :])


# The file's words where the model has others.
_WORDS = {
    "memory_bytes": "mem_limit",
    "memory_swap_bytes": "memswap_limit",
    "memory_reservation_bytes": "mem_reservation",
    "memory_swappiness": "mem_swappiness",
    "cpu_quota_us": "cpu_quota",
    "cpu_period_us": "cpu_period",
    "cpu_rt_runtime_us": "cpu_rt_runtime",
    "cpu_rt_period_us": "cpu_rt_period",
    "cpuset_cpus": "cpuset",
    "blkio": "blkio_config",
    "blkio_weight": "blkio_config",
    "seccomp": "security_opt",
    "apparmor": "security_opt",
    "cdi_devices": "devices",
    "device_rules": "device_cgroup_rules",
    "shm_bytes": "shm_size",
    "storage_bytes": "storage_opt",
    "stop_timeout_s": "stop_grace_period",
    "open_stdin": "stdin_open",
    "no_new_privileges": "security_opt",
    "mounts": "volumes",
    "exposed_ports": "expose",
    "routes": "x-routes",
    "dns_options": "dns_opt",
    "options": "driver_opts",
    "pools": "ipam.config",
    "ipam_driver": "ipam.driver",
    "ipam_options": "ipam.options",
}
