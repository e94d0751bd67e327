"""Docker's port maps: {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from netmodel.daemon.wire.decode import Body, address
from netmodel.engine.values import PortExposure
from netmodel.errors import Invalid
from netmodel.model import IPAddress, NetworkProtocol, PortConfig

Published = Sequence[tuple[PortConfig, Sequence[IPAddress]]]  # each with the host's addresses at which it is


class PortBinding(Body):
    host_ip: str | None = None
    host_port: str | None = None


def port_key(port: PortConfig) -> str:
    return f"{port.container_port}/{port.protocol}"


def exposed(keys: Iterable[str]) -> tuple[PortConfig, ...]:
    """Parse ExposedPorts; a key may name a range ("8000-8010/tcp")."""
    found = []
    for key in keys:
        text, protocol = _split(key)
        first, last = _range(text, key)
        found += [PortConfig(container_port=port, protocol=protocol) for port in range(first, last + 1)]
    return tuple(found)


def bindings(declared: Mapping[str, list[PortBinding] | None]) -> tuple[PortConfig, ...]:
    """Parse PortBindings; an entry without a binding publishes on a port of the engine's choice."""
    found = []
    for key, wanted in declared.items():
        text, protocol = _split(key)
        port, last = _range(text, key)
        if port != last:
            raise Invalid(f"port {key!r}: bind each port of a range by itself")
        for one in wanted or [PortBinding()]:
            start, end = _range(one.host_port, key) if one.host_port else (0, 0)
            found.append(
                PortConfig(
                    container_port=port,
                    protocol=protocol,
                    host_address=address(one.host_ip, f"host address of port {key}") if one.host_ip else None,
                    host_port=start,
                    host_port_end=end if end != start else 0,
                )
            )
    return tuple(found)


def port_bindings(ports: Iterable[PortConfig], publish_all: bool = False) -> dict[str, list[dict[str, str]]]:
    """What was asked for, as HostConfig shows it.

    Args:
        publish_all: Those that are published at any port were not asked for one by one.
    """
    answer: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        if publish_all and not port.host_port and port.host_address is None:
            continue
        text = f"{port.host_port}-{port.host_port_end}" if port.host_port_end else str(port.host_port or "")
        answer.setdefault(port_key(port), []).append({"HostIp": str(port.host_address or ""), "HostPort": text})
    return answer


def published(exposed_ports: Iterable[PortConfig], ports: Published) -> dict[str, Any]:
    """What is published, as NetworkSettings.Ports shows it; a port only exposed is null.

    A port that is reached at the container's own address has no port of the host: "".
    """
    answer: dict[str, Any] = {port_key(port): None for port in exposed_ports}
    for port, addresses in ports:
        if answer.get(port_key(port)) is None:
            answer[port_key(port)] = []
        number = str(port.host_port or "")
        answer[port_key(port)] += [{"HostIp": str(ip), "HostPort": number} for ip in addresses]
    return answer


def summary(exposed_ports: Iterable[PortConfig], ports: Published) -> list[dict[str, Any]]:
    """The same as a list, as `ps` shows it."""
    answer: list[dict[str, Any]] = []
    bound = set()
    for port, addresses in ports:
        if not port.host_port:
            continue
        bound.add(port_key(port))
        answer += [
            {
                "IP": str(ip),
                "PrivatePort": port.container_port,
                "PublicPort": port.host_port,
                "Type": port.protocol,
            }
            for ip in addresses
        ]
    listed = dict.fromkeys([*(port for port, _ in ports if not port.host_port), *exposed_ports])
    answer += [
        {"PrivatePort": port.container_port, "Type": port.protocol} for port in listed if port_key(port) not in bound
    ]
    return answer


def exposure(one: PortExposure) -> dict[str, Any]:
    """How far a port is really reached; Docker has no such thing."""
    return {
        "Port": port_key(one.port),
        "Address": str(one.address),
        "Number": one.number,
        "State": one.state,
        "Why": one.why,
        "Relayed": one.relayed,
    }


def _split(key: str) -> tuple[str, NetworkProtocol]:
    text, _, protocol = key.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise Invalid(f"port {key!r}: protocol {protocol!r} is not known", "use tcp or udp")
    return text, cast(NetworkProtocol, protocol)


def _range(text: str, key: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        start, end = int(first), int(last if dash else first)
    except ValueError as error:
        raise Invalid(f"port {key!r}: {text!r} is neither a port nor a range") from error
    if not 0 <= start <= end <= 65535:
        raise Invalid(f"port {key!r}: {text!r} is outside 1 to 65535")
    return start, end
