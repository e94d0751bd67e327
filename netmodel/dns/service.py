"""Names of services, _http._tcp.web, and which of a container's ports each means."""

from __future__ import annotations

import functools
import socket
from dataclasses import dataclass

import dns.name

from netmodel.model import PortConfig

_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Service:
    """What is asked for.

    Args:
        name: Without its underscore, lower case.
        owner: Who shall serve it: a name of a container or a service.
    """

    name: str
    protocol: str
    owner: str

    def means(self, port: PortConfig) -> bool:
        """Say whether a port is meant: by the name it was declared with, its number, or IANA's name for it."""
        if port.protocol != self.protocol:
            return False
        number = port.container_port
        names = (*(name.lower() for name in port.names), str(number))
        return self.name in names or number == _registered(self.name, self.protocol)


def read_service(name: dns.name.Name) -> Service | None:
    """Take _SERVICE._PROTOCOL.OWNER apart; None for any other name.

    Source: RFC 2782.
    """
    labels = [label.decode("ascii", "replace").lower() for label in name.labels[:2]]
    if len(name.labels) < 4 or not all(label.startswith("_") for label in labels) or labels[1][1:] not in _PROTOCOLS:
        return None
    owner = dns.name.Name(name.labels[2:]).to_text(omit_final_dot=True)
    return Service(labels[0][1:], labels[1][1:], owner)


@functools.lru_cache(maxsize=1024)
def _registered(name: str, protocol: str) -> int | None:
    """The port of a service in the host's /etc/services."""
    try:
        return socket.getservbyname(name, protocol)
    except OSError:
        return None
