"""Queries for 127.0.0.11:53 arrive at the engine's sockets, and the container keeps its own port 53."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from drivers.dns_redirect import redirect_dns, redirect_dns_here
from drivers.kernel.conntrack import Conntrack
from drivers.kernel.nft import NftWorker
from tests.drivers.wires import ask, serving
from tests.support.box import Box

pytestmark = pytest.mark.kernel


@contextmanager
def resolver(box: Box) -> Iterator[tuple[int, int]]:
    """Two sockets as the engine opens them; each answers one query. Yields the ports of UDP and TCP."""
    udp = box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.11", 0))
    tcp = box.open(lambda: socket.create_server(("127.0.0.11", 0)))

    def answer() -> None:
        data, peer = udp.recvfrom(100)
        udp.sendto(b"resolved " + data, peer)
        connection, _ = tcp.accept()
        with connection:
            connection.sendall(b"resolved " + connection.recv(100))

    thread = threading.Thread(target=answer)
    thread.start()
    yield udp.getsockname()[1], tcp.getsockname()[1]
    thread.join()
    udp.close()
    tcp.close()


def test_queries_reach_the_resolver_and_not_the_containers_own(nft: NftWorker, box: Callable[[str], Box]) -> None:
    a = box("a")
    redirect_dns(nft, a.path, 1, 2)

    with serving(a, 53), resolver(a) as (udp, tcp):
        redirect_dns(nft, a.path, udp, tcp)

        assert ask(a, "127.0.0.11", 53, udp=True) == "resolved hello"
        assert ask(a, "127.0.0.11", 53) == "resolved hello"
        assert ask(a, "127.0.0.1", 53, udp=True) == "a heard 127.0.0.1"
        assert ask(a, "127.0.0.1", 53) == "a heard 127.0.0.1"


def test_no_connection_of_the_container_is_tracked_for_it(nft: NftWorker, box: Callable[[str], Box]) -> None:
    a = box("a")
    with resolver(a) as (udp, tcp):
        redirect_dns(nft, a.path, udp, tcp)
        ask(a, "127.0.0.11", 53, udp=True)
        ask(a, "127.0.0.11", 53)

    with Conntrack(a.path) as table:
        assert table.connections() == []


def test_what_a_new_namespace_is_sent_is_what_libnftables_makes_of_the_rules(
    nft: NftWorker, box: Callable[[str], Box]
) -> None:
    new, other = box("new"), box("other")

    new.open(lambda: redirect_dns_here(40001, 40002))
    redirect_dns(nft, other.path, 40001, 40002)

    assert (found := nft.run("list ruleset\n", new.path)) == nft.run("list ruleset\n", other.path)
    assert "udp dport set 40001" in found


def test_queries_of_a_new_namespace_reach_the_resolver_and_are_not_tracked(box: Callable[[str], Box]) -> None:
    a = box("a")

    with resolver(a) as (udp, tcp):
        a.open(lambda: redirect_dns_here(udp, tcp))

        assert ask(a, "127.0.0.11", 53, udp=True) == "resolved hello"
        assert ask(a, "127.0.0.11", 53) == "resolved hello"
    with Conntrack(a.path) as table:
        assert table.connections() == []
