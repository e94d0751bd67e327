"""Containers as Docker's clients see them: a line of `ps`, and the whole of `inspect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netmodel.daemon.wire import mountshapes, resources, security
from netmodel.daemon.wire.encode import moment
from netmodel.daemon.wire.endpoint import endpoint_settings, no_endpoint
from netmodel.daemon.wire.life import check_shape, health_shape, host_shape
from netmodel.daemon.wire.ports import Published, exposure, port_bindings, published, summary
from netmodel.engine import Health
from netmodel.engine.endpoints import dns_names
from netmodel.engine.files import ContainerFiles
from netmodel.engine.values import PortExposure
from netmodel.model import Container, ContainerConfig, Endpoint, MountConfig, Network
from runtime.defaults import DEFAULT_READONLY_PATHS, default_masked_paths

_STATIC_HOST_CONFIG: dict[str, Any] = {
    # What is the same for every container of ours; clients read some of it without a check.
    "ContainerIDFile": "",
    "VolumeDriver": "",
    "ConsoleSize": [0, 0],
    "Cgroup": "",
    "Runtime": "netmodel",
    "Isolation": "",
    "CgroupParent": "",
    # Of Windows alone.
    **dict.fromkeys(("CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"), 0),
}
# What Docker before its API 1.52 had at the top of NetworkSettings, and never set any more.
_BYGONE_SETTINGS: dict[str, Any] = {
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A container with all that is told of it.

    Args:
        networks: By id; at least those of the endpoints.
        argv: Its whole command line, the image's part included.
        volume_paths: Where its named volumes live on the host.
        apparmor: The label that the kernel confines its first process by; "" while it does not run.
        published: Its published ports with the host's addresses at which they are; none while it does not run.
        hostname: What it has, or will have when it starts.
        links: Of the default network: each other container's name, and what it is called in this one.
    """

    container: Container
    endpoints: Sequence[Endpoint]
    networks: Mapping[str, Network]
    argv: tuple[str, ...] = ()
    image_id: str = ""
    netns: Path | None = None
    log: Path | None = None
    files: ContainerFiles | None = None
    execs: Sequence[str] = ()
    health: Health | None = None
    volume_paths: Mapping[str, Path] | None = None
    exposures: Sequence[PortExposure] = ()
    apparmor: str = ""
    published: Published = ()
    hostname: str = ""
    links: Sequence[tuple[str, str]] = ()


def line(seen: Seen, now: datetime | None = None) -> dict[str, Any]:
    """What `GET /containers/json` tells of one container."""
    container, config = seen.container, seen.container.config
    return {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": config.image,
        "ImageID": seen.image_id,
        "Command": " ".join(seen.argv),
        "Created": int(container.created_at.timestamp()),
        "Ports": summary(config.exposed_ports, seen.published),
        "Labels": dict(config.labels),
        "State": container.state.status,
        "Status": status(container, now or datetime.now(UTC)),
        "HostConfig": {"NetworkMode": network_mode(container)},
        "NetworkSettings": {"Networks": _networks(seen)},
        "Mounts": [_mount_point(mount, seen) for mount in config.mounts],
    }


def inspect(seen: Seen) -> dict[str, Any]:
    """What `GET /containers/{id}/json` tells."""
    container, config, state = seen.container, seen.container.config, seen.container.state
    return {
        "Id": container.id,
        "Created": moment(container.created_at),
        "Path": seen.argv[0] if seen.argv else "",
        "Args": list(seen.argv[1:]),
        "State": {
            "Status": state.status,
            "Running": state.running,
            "Paused": state.status == "paused",
            "Restarting": state.status == "restarting",
            "OOMKilled": state.oom_killed,
            "Dead": state.status == "dead",
            "Pid": state.pid if state.running else 0,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": moment(state.started_at),
            "FinishedAt": moment(state.finished_at),
            **({"Health": health_shape(seen.health)} if seen.health else {}),
        },
        "Image": seen.image_id,
        "ResolvConfPath": str(seen.files.resolv_conf) if seen.files else "",
        "HostnamePath": str(seen.files.hostname) if seen.files else "",
        "HostsPath": str(seen.files.hosts) if seen.files else "",
        "LogPath": str(seen.log or ""),
        "Name": "/" + container.name,
        "RestartCount": container.restart_count,
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": seen.apparmor,
        "ExecIDs": list(seen.execs) or None,
        "HostConfig": {**_host_config(container), "Links": _links(seen)},
        "GraphDriver": {"Name": "overlayfs", "Data": None},
        "Mounts": [_mount_point(mount, seen) for mount in config.mounts],
        "Config": _config(seen),
        "NetworkSettings": _network_settings(seen),
        "Netmodel": {
            "IdmapBase": container.idmap_base,
            "Sandbox": container.sandbox,
            "Exposure": [exposure(one) for one in seen.exposures],
        },
    }


def network_mode(container: Container) -> str:
    """Docker's word for it: with networks of its own, the first one's name; of who shares another's, that one's id."""
    config = container.config
    if config.network_mode == "bridge" and config.networks:
        return config.networks[0].network
    if config.network_mode.startswith("container:"):
        return f"container:{container.sandbox}"
    return config.network_mode


def status(container: Container, now: datetime) -> str:
    """ "Up 3 minutes", "Exited (0) 2 hours ago", "Created"."""
    state = container.state
    if state.running:
        if state.status == "restarting":
            return f"Restarting ({state.exit_code}) {ago(state.finished_at, now)} ago"
        health = {"": "", "starting": " (health: starting)"}.get(state.health, f" ({state.health})")
        return f"Up {ago(state.started_at, now)}{' (Paused)' if state.status == 'paused' else health}"
    if state.status == "exited":
        return f"Exited ({state.exit_code}) {ago(state.finished_at, now)} ago"
    return {"created": "Created", "dead": "Dead", "removing": "Removal In Progress"}.get(state.status, state.status)


def ago(then: datetime | None, now: datetime) -> str:
    """A duration in Docker's words."""
    seconds = int((now - then).total_seconds()) if then else 0
    for unit, size, bound in (("second", 1, 60), ("minute", 60, 3600), ("hour", 3600, 172800), ("day", 86400, 1209600)):
        if seconds < bound:
            count = seconds // size
            if count < 1:
                return "Less than a second"
            if count == 1 and unit != "second":
                return "About a minute" if unit == "minute" else "About an hour"
            return f"{count} {unit}{'' if count == 1 else 's'}"
    weeks = seconds // 604800
    return f"{weeks} weeks" if weeks < 9 else f"{seconds // 2592000} months"


def _networks(seen: Seen) -> dict[str, Any]:
    container = seen.container
    found = {}
    for endpoint in seen.endpoints:
        network = seen.networks.get(endpoint.network_id)
        if network is None:  # removed between two looks
            continue
        names = dns_names(container, endpoint)
        found[network.name] = endpoint_settings(endpoint, network, names, container.state.running)
    if not found and container.config.network_mode in ("host", "none"):
        mode = container.config.network_mode
        record = next((network for network in seen.networks.values() if network.name == mode), None)
        found[mode] = no_endpoint(record.id if record else "")
    return found


def _network_settings(seen: Seen) -> dict[str, Any]:
    container = seen.container
    networks = _networks(seen)
    default = networks.get("bridge", {})  # Docker repeats the default network's values up here
    ports = {}
    if container.state.running:
        ports = published(container.config.exposed_ports, seen.published)
    return {
        "Bridge": "",
        "SandboxID": container.sandbox,
        "SandboxKey": str(seen.netns or ""),
        "Ports": ports,
        "EndpointID": default.get("EndpointID", ""),
        "Gateway": default.get("Gateway", ""),
        "GlobalIPv6Address": default.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": default.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": default.get("IPAddress", ""),
        "IPPrefixLen": default.get("IPPrefixLen", 0),
        "IPv6Gateway": default.get("IPv6Gateway", ""),
        "MacAddress": default.get("MacAddress", ""),
        **_BYGONE_SETTINGS,
        "Networks": networks,
    }


def _config(seen: Seen) -> dict[str, Any]:
    config = seen.container.config
    anonymous = [mount for mount in config.mounts if mount.type == "volume" and not mount.source]
    return {
        "Hostname": seen.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.open_stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in config.exposed_ports},
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.open_stdin,
        "Env": [f"{name}={value}" for name, value in config.environment.items()],
        "Cmd": _list(config.command),
        "Image": config.image,
        "Volumes": {mount.target: {} for mount in anonymous} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": _list(config.entrypoint),
        "OnBuild": None,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout_s,
        **({"Healthcheck": check} if (check := check_shape(config.health)) else {}),
    }


def _host_config(container: Container) -> dict[str, Any]:
    config = container.config
    return {
        **_STATIC_HOST_CONFIG,
        **host_shape(config),
        "Binds": [text for mount in config.mounts if (text := mountshapes.short(mount)) is not None] or None,
        **({"Mounts": long} if (long := [one for mount in config.mounts if (one := mountshapes.shape(mount))]) else {}),
        "VolumesFrom": [mountshapes.giver(one) for one in config.volumes_from] or None,
        "StorageOpt": {"size": str(config.storage_bytes)} if config.storage_bytes else None,
        "NetworkMode": network_mode(container),
        "PortBindings": port_bindings(config.ports, config.publish_all),
        "PublishAllPorts": config.publish_all,
        "AutoRemove": config.auto_remove,
        "CapAdd": _list(config.cap_add or None),
        "CapDrop": _list(config.cap_drop or None),
        "Dns": [str(one) for one in config.dns],
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": [f"{name}:{ip}" for name, ips in config.extra_hosts.items() for ip in ips.split(",")] or None,
        "GroupAdd": _list(config.group_add or None),
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "UsernsMode": config.userns_mode,
        "ShmSize": config.shm_bytes,
        "Sysctls": dict(config.sysctls),
        "Tmpfs": {mount.target: mountshapes.tmpfs_options(mount) for mount in config.mounts if mount.type == "tmpfs"},
        **resources.shape(config),
        **security.shape(config, *_usual_paths(config)),
        "Ulimits": [{"Name": one.name, "Soft": one.soft, "Hard": one.hard} for one in config.ulimits],
    }


def _links(seen: Seen) -> list[str] | None:
    return [f"/{name}:/{seen.container.name}/{alias}" for name, alias in seen.links] or None


def _usual_paths(config: ContainerConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return ((), ()) if config.privileged else (default_masked_paths(), DEFAULT_READONLY_PATHS)


def _mount_point(mount: MountConfig, seen: Seen) -> dict[str, Any]:
    source = mount.source
    if mount.type == "volume" and seen.volume_paths:
        source = str(seen.volume_paths.get(mount.source, ""))
    return {
        "Type": mount.type,
        **({"Name": mount.source, "Driver": "local"} if mount.type == "volume" else {}),
        "Source": source,
        "Destination": mount.target,
        "Mode": "ro" if mount.read_only else "",
        "RW": not mount.read_only,
        "Propagation": (mount.propagation or "rprivate") if mount.type == "bind" else "",
    }


def _list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)
