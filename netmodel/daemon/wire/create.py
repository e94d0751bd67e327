"""POST /containers/create: what Docker's clients ask for becomes a ContainerConfig.

Nothing is dropped in silence: what we cannot honour is refused by name when leaving it out would give
something else than was asked for (a limit, a device, a shared namespace), and answered as a warning
when the container is still the one that was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netmodel.daemon.wire.decode import Body, address, decode, refuse
from netmodel.daemon.wire.endpoint import EndpointSettings
from netmodel.daemon.wire.life import Healthcheck, Living, life
from netmodel.daemon.wire.mounts import Mount, mounts, size, volumes_from
from netmodel.daemon.wire.ports import PortBinding, bindings, exposed, port_key
from netmodel.daemon.wire.resources import limits
from netmodel.daemon.wire.security import confinement
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, EndpointConfig, PortConfig, UlimitConfig
from netmodel.userns import check_userns

_BRIDGE = {"default": "bridge"}  # Docker's clients call the default network so
_DEFAULT_SHM_BYTES = 64 * 1024 * 1024


class Ulimit(Body):
    name: str
    soft: int
    hard: int


class NetworkingConfig(Body):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class HostConfig(Living):
    binds: list[str] | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    auto_remove: bool = False
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    mounts: list[Mount] | None = None
    volumes_from: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    ulimits: list[Ulimit] | None = None
    # What follows is answered with a warning or refused.
    annotations: dict[str, str] | None = None
    cgroup_parent: str | None = None
    links: list[str] | None = None
    runtime: str | None = None
    volume_driver: str | None = None


class CreateRequest(Body):
    image: str = ""
    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    tty: bool = False
    open_stdin: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    entrypoint: list[str] | str | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    volumes: dict[str, Any] | None = None
    exposed_ports: dict[str, Any] | None = None
    mac_address: str | None = None
    network_disabled: bool = False
    healthcheck: Healthcheck | None = None
    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


def read_create(data: bytes) -> tuple[ContainerConfig, list[str]]:
    """Decode a create request into the wish, and the warnings that its answer carries.

    Raises:
        Invalid: A value is wrong, or cannot be honoured.
    """
    request = decode(CreateRequest, data)
    host = request.host_config or HostConfig()
    if not request.image:
        raise Invalid("no image is named", "give one: host, a directory or a tar archive")
    _refuse_unsupported(host)
    mode, networks = _networking(request, host)
    ports = bindings(host.port_bindings or {})
    opened = exposed(request.exposed_ports or {})
    config = ContainerConfig(
        image=request.image,
        command=_argv(request.cmd),
        entrypoint=_argv(request.entrypoint),
        environment=_environment(request.env or []),
        working_dir=request.working_dir or "",
        user=request.user or "",
        group_add=tuple(host.group_add or ()),
        hostname=request.hostname or "",
        domainname=request.domainname or "",
        labels=request.labels or {},
        stop_signal=request.stop_signal or "",
        stop_timeout_s=10 if request.stop_timeout is None else request.stop_timeout,
        tty=request.tty,
        open_stdin=request.open_stdin,
        auto_remove=host.auto_remove,
        read_only=host.readonly_rootfs,
        privileged=host.privileged,
        userns_mode=check_userns(host.userns_mode or ""),
        cap_add=tuple(host.cap_add or ()),
        cap_drop=tuple(host.cap_drop or ()),
        sysctls=host.sysctls or {},
        ulimits=tuple(UlimitConfig(name=one.name, soft=one.soft, hard=one.hard) for one in host.ulimits or ()),
        storage_bytes=size(host.storage_opt["size"]) if host.storage_opt else None,
        volumes_from=tuple(map(volumes_from, host.volumes_from or ())),
        mounts=mounts(host.binds or (), host.mounts or (), host.tmpfs or {}, request.volumes or {}),
        shm_bytes=host.shm_size or _DEFAULT_SHM_BYTES,
        network_mode=mode,
        networks=networks,
        ports=ports + (_all_of(opened, ports) if host.publish_all_ports else ()),
        exposed_ports=opened,
        publish_all=host.publish_all_ports,
        dns=tuple(address(text, "Dns") for text in host.dns or ()),
        dns_search=tuple(host.dns_search or ()),
        dns_options=tuple(host.dns_options or ()),
        extra_hosts=_extra_hosts(host.extra_hosts or []),
        **confinement(host),
        **limits(host),
        **life(host, request.healthcheck),
    )
    return config, list(_warnings(host))


def _refuse_unsupported(host: HostConfig) -> None:
    refuse(
        [
            ("HostConfig.CgroupParent", host.cgroup_parent),
            (f"HostConfig.Runtime={host.runtime}", host.runtime not in (None, "", "netmodel")),
            *((f"HostConfig.StorageOpt: {key}", True) for key in host.storage_opt or () if key != "size"),
            (f"HostConfig.VolumeDriver={host.volume_driver}", host.volume_driver not in (None, "", "local")),
        ]
    )


def _warnings(host: HostConfig) -> Iterator[str]:
    if host.annotations:
        yield "Annotations have no effect here"


def _argv(value: list[str] | str | None) -> tuple[str, ...] | None:
    """Docker's clients say [""] for "clear the image's own"; a bare string is one argument."""
    if value is None:
        return None
    argv = (value,) if isinstance(value, str) else tuple(value)
    return () if argv == ("",) else argv


def _environment(entries: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in entries]
    for name, _, _ in pairs:
        if not name:
            raise Invalid("an environment variable has no name", "write NAME=VALUE")
    return {name: value for name, equals, value in pairs if equals}


def _networking(request: CreateRequest, host: HostConfig) -> tuple[str, tuple[EndpointConfig, ...]]:
    """The network mode in our words, and the attachments, the mode's own network first."""
    mode = "none" if request.network_disabled else host.network_mode or "default"
    mode = _BRIDGE.get(mode, mode)
    wanted = (request.networking_config or NetworkingConfig()).endpoints_config or {}
    settings = {
        ("bridge" if name == "default" else name): value or EndpointSettings() for name, value in wanted.items()
    }
    if mode in ("host", "none") or mode.startswith("container:"):
        if others := [name for name in settings if name != mode]:
            raise Invalid(f"network mode {mode!r} and network {others[0]!r} exclude each other")
        if host.links:
            raise Invalid(f"network mode {mode!r} and links exclude each other")
        return mode, ()
    if mode not in settings and not (mode == "bridge" and settings):
        settings = {mode: EndpointSettings(), **settings}
    if host.links and mode in settings and not settings[mode].links:
        settings[mode].links = host.links
    names = sorted(settings, key=lambda name: name != mode)  # stable: the mode's own, then as given
    if request.mac_address and names:
        settings[names[0]].mac_address = settings[names[0]].mac_address or request.mac_address
    networks = tuple(settings[name].config(name) for name in names)
    if networks == (EndpointConfig(network="bridge"),):
        networks = ()
    return "bridge", networks


def _all_of(opened: tuple[PortConfig, ...], bound: tuple[PortConfig, ...]) -> tuple[PortConfig, ...]:
    known = {port_key(port) for port in bound}
    return tuple(port for port in opened if port_key(port) not in known)


def _extra_hosts(entries: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        name, separator, ip = entry.partition(":")
        if not separator or not name or not ip:
            raise Invalid(f"extra host {entry!r} is not of the form NAME:ADDRESS")
        if ip != "host-gateway":
            ip = str(address(ip.strip("[]"), f"extra host {name}"))
        found[name] = f"{found[name]},{ip}" if name in found else ip
    return found
