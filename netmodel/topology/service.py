"""A service: one container as declared, before it is multiplied, named and attached."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, PortConfig, RouteConfig, VolumesFrom
from netmodel.project import Dependency, Pull
from netmodel.topology import (
    attachment,
    confinement,
    depends,
    environment,
    life,
    limits,
    links,
    mounts,
    ports,
    pull,
    resources,
    routes,
    units,
)
from netmodel.topology.attachment import Attachment
from netmodel.topology.depends import Depends
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.environment import EnvFiles
from netmodel.topology.keys import SERVICE, STORAGE_OPT
from netmodel.topology.links import Link
from netmodel.topology.mounts import Mount
from netmodel.topology.value import Fields, Value
from netmodel.userns import check_userns, with_ids

_SIGNALS = [name.name for name in signal.Signals]


@dataclass(slots=True)
class Service:
    """Args:
    value: Where it is declared.
    config: Without networks, mounts and labels of ours, which need names that are final.
    mode: "", "host", "none", "bridge", "service:NAME" or "container:NAME".
    depends: What it waits for, by service, and where that is said.
    owners: Services whose namespaces for processes and IPC, or whose mounts, it shares, and where that is said.
    profiles: It is there only when one of these is asked for; none is always.
    """

    name: str
    value: Value
    fields: Fields
    config: ContainerConfig
    replicas: int
    container_name: str
    mode: str
    attachments: list[Attachment]
    mounts: list[Mount]
    ports: list[tuple[PortConfig, Value]]
    routes: list[tuple[RouteConfig, Value]]
    depends: Depends = field(default_factory=dict)
    owners: dict[str, Value] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    profiles: tuple[str, ...] = ()
    pull: Pull = field(default_factory=Pull)

    @property
    def mode_service(self) -> str:
        """The service whose sandbox it shares, or ""."""
        return self.mode.removeprefix("service:") if self.mode.startswith("service:") else ""


def read(name: str, value: Value, project: str, directory: Path, files: EnvFiles) -> Service:
    fields = value.fields(SERVICE)
    mode = attachment.read_mode(fields)
    limit = limits.read(fields)
    published = ports.published(fields)
    own_routes = routes.read(fields)
    tmp = mounts.read(fields, directory)
    givers = mounts.volumes_from(fields)
    linked = links.read(fields, mode)
    # Compose's rule: what one is linked to comes first.
    wanted = {one.config.target: (Dependency(service=one.config.target), one.value) for one in linked if one.service}
    config = ContainerConfig(
        image=_image(name, value, fields, project, directory),
        command=_command(fields, "command"),
        entrypoint=_command(fields, "entrypoint"),
        environment=environment.read(fields, files),
        working_dir=fields.text("working_dir"),
        user=fields.word("user"),
        group_add=tuple(text for item in fields.each("group_add") if (text := item.word()) is not None),
        hostname=fields.parsed("hostname", units.host_name) or "",
        domainname=fields.parsed("domainname", units.host_name) or "",
        labels=fields.words("labels"),
        stop_signal=fields.parsed("stop_signal", _signal) or "",
        stop_timeout_s=_seconds(fields.parsed("stop_grace_period", units.duration_s)),
        tty=fields.flag("tty"),
        open_stdin=fields.flag("stdin_open"),
        read_only=fields.flag("read_only"),
        privileged=fields.flag("privileged"),
        userns_mode=fields.parsed("userns_mode", _userns) or "",
        cap_add=limits.capabilities(fields, "cap_add"),
        cap_drop=limits.capabilities(fields, "cap_drop"),
        sysctls=_sysctls(fields),
        volumes_from=tuple(one for one, _ in givers),
        storage_bytes=_storage(fields),
        ulimits=limits.ulimits(fields),
        shm_bytes=fields.parsed("shm_size", units.size_bytes) or 64 * 1024 * 1024,
        memory_bytes=limit.memory_bytes,
        memory_swap_bytes=limit.memory_swap_bytes,
        cpus=limit.cpus,
        cpu_shares=limit.cpu_shares,
        pids_limit=limit.pids_limit,
        network_mode=mode or "bridge",
        ports=tuple(port for port, _ in published),
        exposed_ports=tuple(ports.exposed(fields)),
        dns=_dns(fields),
        dns_search=fields.one_or_more("dns_search"),
        dns_options=fields.texts("dns_opt"),
        extra_hosts=_extra_hosts(fields),
        routes=tuple(route for route, _ in own_routes),
        **confinement.read(fields, directory),
        **resources.read(fields),
        **life.read(fields),
    )
    return Service(
        name=name,
        value=value,
        fields=fields,
        config=config,
        replicas=limit.replicas,
        container_name=fields.parsed("container_name", units.container_name) or "",
        mode=mode,
        attachments=attachment.with_links(attachment.read(name, value, fields, mode), linked),
        links=linked,
        mounts=tmp,
        ports=published,
        routes=own_routes,
        depends=wanted | depends.read(fields),
        owners=life.owners(fields) | _services(givers),
        profiles=life.profiles(fields),
        pull=pull.read(fields),
    )


def _services(givers: Sequence[tuple[VolumesFrom, Value]]) -> dict[str, Value]:
    named = ((one.container.partition(":"), value) for one, value in givers)
    return {name: value for (kind, separator, name), value in named if separator and kind == "service"}


def _image(name: str, value: Value, fields: Fields, project: str, directory: Path) -> str:
    if "image" in fields:
        image = fields["image"].text()
        if image == "":
            fields["image"].error(
                "is empty", 'use "host" for this machine\'s own root, or a directory or a tar archive'
            )
        # The engine runs elsewhere: what is relative is relative to this file.
        return mounts.host_path(image, directory) if image and image.startswith(("./", "../", "~")) else image or ""
    whole = value.pairs() if value.is_mapping else {}
    if "build" in whole:
        return f"{project}-{name}"  # what Compose would call the result
    misspelt = any(did_you_mean(key, ("image",)) for key in whole if key not in SERVICE.all)
    if not misspelt and (value.is_mapping or value.is_null):
        hint = "image: host is this machine's own root file system"
        if "extends" in whole:
            hint = "extends is not supported yet; copy the image here"
        value.error_at_key("lacks image", hint)
    return ""


def _command(fields: Fields, name: str) -> tuple[str, ...] | None:
    """Text is split as a shell would split it; nothing in it is expanded by a shell."""
    if name not in fields:
        return None
    value = fields[name]
    if not value.is_scalar:
        return tuple(text for item in value.items("text or a list") if (text := item.text()) is not None)
    text = value.text("text or a list")
    if text is None:
        return None
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        value.error(f"cannot be split into words: {str(error).lower()}")
        return None


def _dns(fields: Fields) -> tuple[IPv4Address | IPv6Address, ...]:
    if "dns" not in fields:
        return ()
    parsed = [item.parsed(units.address) for item in fields["dns"].one_or_more()]
    return tuple(address for address in parsed if address is not None)


def _extra_hosts(fields: Fields) -> dict[str, str]:
    """Names with their addresses; several addresses of one name are joined by commas."""
    if "extra_hosts" not in fields:
        return {}
    found: dict[str, list[str]] = {}
    for name, text, value in _host_lines(fields["extra_hosts"]):
        address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if address != "host-gateway":
            try:
                units.address(address)
            except ValueError as error:
                value.error(str(error))
                continue
        found.setdefault(name, []).append(address)
    return {name: ",".join(addresses) for name, addresses in found.items()}


def _host_lines(value: Value) -> list[tuple[str, str, Value]]:
    if value.is_mapping:
        pairs = [(name, item) for name, one in value.pairs().items() for item in one.one_or_more()]
        return [(name, text, item) for name, item in pairs if (text := item.text()) is not None]
    found = []
    for item in value.items("a list or a mapping"):
        text = item.text()
        if text is None:
            continue
        separator = "=" if "=" in text else ":"
        name, _, address = text.partition(separator)
        if not name or not address:
            item.error(f'"{text}" is not NAME:ADDRESS')
            continue
        found.append((name, address, item))
    return found


def _sysctls(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, (text, value) in fields.dictionary("sysctls").items():
        if text is None:
            value.error(f'"{name}" has no value')
        else:
            found[name.replace("/", ".") if name.startswith("net/") else name] = text
    return found


def _storage(fields: Fields) -> int | None:
    if "storage_opt" not in fields:
        return None
    return fields["storage_opt"].fields(STORAGE_OPT).parsed("size", units.size_bytes)


def _signal(text: str) -> str:
    name = text.upper()
    if name.isdigit():
        if 0 < int(name) <= signal.SIGRTMAX:
            return name
        raise ValueError(f'"{text}" is no signal')
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in _SIGNALS and not name.startswith(("SIGRTMIN+", "SIGRTMAX-")):
        close = did_you_mean(name, _SIGNALS)
        raise ValueError(f'"{text}" is no signal' + (f"; {close}" if close else ""))
    return name


def _seconds(duration_s: float | None) -> int:
    """Whole seconds, never less than asked for; ten when nothing is."""
    return 10 if duration_s is None else -int(-duration_s // 1)


def _userns(text: str) -> str:
    """keep-id alone means whoever brings the file to the engine."""
    try:
        return check_userns(with_ids(text, os.getuid(), os.getgid()))
    except Invalid as error:
        raise ValueError(f'"{text}" is no user namespace mode; {error.hint}') from None
