"""Published and exposed ports, in both of Compose's forms.

Source: docs.docker.com, Compose file reference, "ports": [HOST:]CONTAINER[/PROTOCOL], where HOST is
[ADDRESS:](PORT | FIRST-LAST).
"""

from __future__ import annotations

from dataclasses import replace

from netmodel.model import IPAddress, NetworkProtocol, PortConfig
from netmodel.topology import units
from netmodel.topology.keys import PORT
from netmodel.topology.value import Fields, Value

_PROTOCOLS: dict[str, NetworkProtocol] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}


def published(fields: Fields) -> list[tuple[PortConfig, Value]]:
    """Read `ports`, each with the place it came from."""
    found: list[tuple[PortConfig, Value]] = []
    for item in fields.each("ports"):
        ports = _long(item) if item.is_mapping else item.parsed(short, "text, a number or a mapping") or []
        found += [(port, item) for port in ports]
    return found


def exposed(fields: Fields) -> list[PortConfig]:
    """Read `expose`: ports of the container alone."""
    found: list[PortConfig] = []
    for item in fields.each("expose"):
        found += item.parsed(_exposed, "text or a number") or []
    return found


def short(text: str) -> list[PortConfig]:
    """Read "80", "8080:80", "127.0.0.1:53:53/udp", "[::1]:8000-8009:80", "9090-9091:8080-8081"."""
    body, _, protocol = text.partition("/")
    where, container = _split(body, text)
    address, _, host = where.rpartition(":")
    return _combine(_address(address), host, container, _protocol(protocol or "tcp"))


def _exposed(text: str) -> list[PortConfig]:
    body, _, protocol = text.partition("/")
    return _combine(None, "", body, _protocol(protocol or "tcp"))


def _split(body: str, text: str) -> tuple[str, str]:
    """Divide "ADDRESS:HOST:CONTAINER" into what is before the last colon and what is after it."""
    where, _, container = body.rpartition(":")
    if not container:
        raise ValueError(f'"{text}" names no port of the container; write it like 8080:80')
    return where, container


def _long(item: Value) -> list[PortConfig]:
    fields = item.fields(PORT)
    if "target" not in fields:
        item.error_at_key("lacks target, the port of the container")
        return []
    target, host = fields["target"].word(), fields.word("published")
    address = fields.parsed("host_ip", _address)
    protocol = fields.parsed("protocol", _protocol) or "tcp"
    if target is None:
        return []
    names = tuple(name for key in ("name", "app_protocol") if (name := fields.text(key)))
    try:
        return [replace(port, names=names) for port in _combine(address, host, target, protocol)]
    except ValueError as error:
        item.error(str(error))
        return []


def _combine(address: IPAddress | None, host: str, container: str, protocol: NetworkProtocol) -> list[PortConfig]:
    first, last = _range(container, lowest=1)
    if not host:
        return [
            PortConfig(container_port=port, protocol=protocol, host_address=address) for port in range(first, last + 1)
        ]
    host_first, host_last = _range(host, lowest=0)
    if first == last:
        end = host_last if host_last > host_first else 0
        return [
            PortConfig(
                container_port=first, protocol=protocol, host_address=address, host_port=host_first, host_port_end=end
            )
        ]
    if host_last - host_first != last - first:
        raise ValueError(
            f"the ranges {host} and {container} differ in length: "
            f"{host_last - host_first + 1} and {last - first + 1} ports"
        )
    return [
        PortConfig(container_port=port, protocol=protocol, host_address=address, host_port=host_first + port - first)
        for port in range(first, last + 1)
    ]


def _range(text: str, lowest: int) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (_port(first, lowest), _port(last, lowest)) if dash else (_port(text, lowest),) * 2
    if numbers[1] < numbers[0]:
        raise ValueError(f"the range {text} ends before it begins")
    return numbers


def _port(text: str, lowest: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not lowest <= int(text) <= 65535:
        raise ValueError(f'"{text}" is no port; ports are numbers from 1 to 65535')
    return int(text)


def _address(text: str) -> IPAddress | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return units.address(text) if text else None


def _protocol(text: str) -> NetworkProtocol:
    protocol = _PROTOCOLS.get(text.lower())
    if protocol is None:
        raise ValueError(f'"{text}" is no protocol; use tcp or udp')
    return protocol
