"""A name service on the "host", and sandboxes that it serves; each test file brings a zone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import pytest

from netmodel.dns import DnsServer, Zone
from tests.netmodel.dns.nameserver import NameServer
from tests.support.box import Box

ADDRESS = "127.0.0.11"


def sockets(box: Box, port: int = 53) -> tuple[socket.socket, socket.socket]:
    """What the engine opens in a sandbox; at port 53 itself, so that no rules are needed to get there."""

    def opened(kind: socket.SocketKind) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ADDRESS, port))
        return made

    udp, tcp = box.open(lambda: opened(socket.SOCK_DGRAM)), box.open(lambda: opened(socket.SOCK_STREAM))
    tcp.listen()
    return udp, tcp


def ask(
    box: Box, name: str, rdtype: str = "A", tcp: bool = False, timeout_s: float = 8, **options: Any
) -> dns.message.Message:
    """Ask our server from inside a sandbox."""
    query = dns.message.make_query(name, rdtype, **options)
    through = dns.query.tcp if tcp else dns.query.udp
    return box.open(lambda: through(query, ADDRESS, timeout=timeout_s))


def answers(message: dns.message.Message) -> list[str]:
    """The records' data as text, in their order."""
    return [record.to_text() for rrset in message.answer for record in rrset]


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\n")
    return path


@pytest.fixture
def server(host: Box, zone: Zone, resolv_conf: Path) -> Iterator[DnsServer]:
    server = DnsServer(zone, resolv_conf)
    server.start()
    yield server
    server.stop()


Serve = Callable[..., Box]


@pytest.fixture
def serve(server: DnsServer, box: Callable[[str], Box]) -> Serve:
    """Make a sandbox and serve it."""

    def make(name: str = "a", networks: Sequence[str] = ("front",), forward: bool = True, **options: Any) -> Box:
        sandbox = box(name)
        server.serve(name, *sockets(sandbox), networks, forward, **options)
        return sandbox

    return make


@pytest.fixture
def nameserver(host: Box) -> Iterator[Callable[..., NameServer]]:
    """Start name servers, on the host unless said otherwise."""
    started: list[NameServer] = []

    def start(address: str = "127.0.0.53", box: Box = host, **options: Any) -> NameServer:
        started.append(NameServer(box, address, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
