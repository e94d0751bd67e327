"""What we ask others: real name servers, slow, broken and dead ones among them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from netmodel.dns import DnsServer, Zone
from tests.netmodel.dns.conftest import ADDRESS, Serve, answers, ask, sockets
from tests.netmodel.dns.nameserver import NEVER, NameServer
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
WORLD = {"example.org.": ["192.0.2.1"], "long.example.": [f"192.0.2.{n}" for n in range(60)]}
Start = Callable[..., NameServer]


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    zone.attach("front", "web", ["web"], [ip_address("10.1.0.2")], "front")
    return zone


@pytest.mark.parametrize("tcp", [False, True])
def test_unknown_names_are_asked_of_the_hosts_servers(serve: Serve, nameserver: Start, tcp: bool) -> None:
    nameserver(records=WORLD)
    a = serve()

    reply = ask(a, "example.org", tcp=tcp)

    assert answers(reply) == ["192.0.2.1"]
    assert reply.answer[0].ttl == 60  # passed on as it came
    assert ask(a, "missing.example", tcp=tcp).rcode() == dns.rcode.NXDOMAIN


def test_names_of_ours_are_never_asked_of_others(serve: Serve, nameserver: Start) -> None:
    outside = nameserver(records=WORLD)
    a = serve()
    for rdtype in ("A", "AAAA", "MX"):
        ask(a, "web", rdtype)
    ask(a, "example.org")

    assert outside.seen == ["example.org."]


def test_a_cut_answer_is_passed_on_and_whole_over_tcp(serve: Serve, nameserver: Start) -> None:
    nameserver(records=WORLD)
    a = serve()

    assert ask(a, "long.example").flags & dns.flags.TC
    assert len(answers(ask(a, "long.example", tcp=True))) == 60


def test_inside_an_internal_network_the_world_does_not_exist(
    serve: Serve, nameserver: Start, server: DnsServer
) -> None:
    outside = nameserver(records=WORLD)
    a = serve(forward=False)

    assert ask(a, "example.org").rcode() == dns.rcode.NXDOMAIN
    assert ask(a, "example.org", tcp=True).rcode() == dns.rcode.NXDOMAIN
    assert outside.seen == []

    server.update("a", forward=True)
    assert answers(ask(a, "example.org")) == ["192.0.2.1"]


def test_a_slow_server_delays_nobody_else(serve: Serve, nameserver: Start) -> None:
    outside = nameserver(records=WORLD)
    a, b = serve("a"), serve("b")
    waiting = []
    for number in range(50):
        asker = a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        asker.sendto(dns.message.make_query(NEVER, "A", id=number).to_wire(), (ADDRESS, 53))
        waiting.append(asker)
    eventually(lambda: outside.seen.count(NEVER) == 50)

    begun = time.monotonic()
    for sandbox in (a, b):
        assert answers(ask(sandbox, "web")) == ["10.1.0.2"]
        assert answers(ask(sandbox, "example.org")) == ["192.0.2.1"]
    assert time.monotonic() - begun < 1
    for asker in waiting:
        asker.close()


def test_answers_overtake_each_other_on_one_connection(
    serve: Serve, nameserver: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that has said all it had to say still gets its answers."""
    monkeypatch.setattr("netmodel.dns.upstream.GIVE_UP_AFTER_S", 0.5)
    nameserver(records=WORLD)
    a = serve()
    queries = [dns.message.make_query(name, "A") for name in (NEVER, "example.org", "web")]
    with a.open(lambda: socket.create_connection((ADDRESS, 53), timeout=8)) as connection:
        for query in queries:
            wire = query.to_wire()
            connection.sendall(len(wire).to_bytes(2, "big") + wire)
        connection.shutdown(socket.SHUT_WR)
        stream = connection.makefile("rb")
        replies = [dns.message.from_wire(stream.read(int.from_bytes(stream.read(2), "big"))) for _ in queries]
        assert stream.read() == b""
        stream.close()

    assert [reply.question[0].name.to_text() for reply in replies] == ["web.", "example.org.", NEVER]
    assert replies[2].rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"silent": True}, id="silent"),
        pytest.param({"rcode": dns.rcode.SERVFAIL}, id="failing"),
        pytest.param({"rcode": dns.rcode.REFUSED}, id="refusing"),
        pytest.param(None, id="dead"),
    ],
)
def test_the_next_server_takes_over_and_keeps_the_work(
    serve: Serve, nameserver: Start, resolv_conf: Path, first: dict[str, object] | None
) -> None:
    resolv_conf.write_text("# two\nnameserver 127.0.0.53\nnameserver 127.0.0.54\n")
    broken = None if first is None else nameserver("127.0.0.53", **first)
    second = nameserver("127.0.0.54", records=WORLD)
    a = serve()

    assert answers(ask(a, "example.org")) == ["192.0.2.1"]
    asked = len(broken.seen) if broken else 0
    begun = time.monotonic()
    for _ in range(3):
        assert answers(ask(a, "example.org")) == ["192.0.2.1"]

    assert time.monotonic() - begun < 0.9  # nobody waited for the first one again
    assert (len(broken.seen) if broken else 0) == asked
    assert second.seen == ["example.org."] * 4


def test_no_server_at_all_is_a_quick_failure(serve: Serve, resolv_conf: Path) -> None:
    a = serve()
    begun = time.monotonic()
    assert ask(a, "example.org").rcode() == dns.rcode.SERVFAIL  # nobody listens there
    resolv_conf.unlink()
    assert ask(a, "example.org", tcp=True).rcode() == dns.rcode.SERVFAIL
    assert time.monotonic() - begun < 1


def test_the_failure_of_all_servers_is_passed_on(serve: Serve, nameserver: Start) -> None:
    nameserver(rcode=dns.rcode.REFUSED)

    assert ask(serve(), "example.org").rcode() == dns.rcode.REFUSED


def test_a_changed_resolv_conf_counts_from_the_next_query(serve: Serve, nameserver: Start, resolv_conf: Path) -> None:
    nameserver("127.0.0.53", records=WORLD)
    nameserver("127.0.0.54", records={"example.org.": ["192.0.2.99"]})
    a = serve()
    assert answers(ask(a, "example.org")) == ["192.0.2.1"]

    resolv_conf.write_text("search example.net\nnameserver 127.0.0.54\n")

    assert answers(ask(a, "example.org")) == ["192.0.2.99"]


def test_a_sandbox_with_servers_of_its_own_asks_them_from_inside(
    server: DnsServer, box: Callable[[str], Box], nameserver: Start
) -> None:
    """Only there may they be reachable at all: behind a router of the topology, say."""
    a = box("a")
    inside = nameserver("127.0.0.53", box=a, records={"example.org.": ["10.9.0.1"]})
    server.serve("a", *sockets(a), ["front"], True, upstreams=["127.0.0.53"], open_socket=a.open)

    assert answers(ask(a, "example.org")) == ["10.9.0.1"]
    assert answers(ask(a, "example.org", tcp=True)) == ["10.9.0.1"]
    assert len(inside.seen) == 2


def test_one_sandbox_cannot_use_up_what_all_share(serve: Serve, nameserver: Start) -> None:
    outside = nameserver(records=WORLD)
    a, b = serve("a"), serve("b")
    with a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asker:
        asker.settimeout(3)
        for number in range(200):
            asker.sendto(dns.message.make_query(NEVER, "A", id=number).to_wire(), (ADDRESS, 53))
        refused = dns.message.from_wire(asker.recv(512))  # at once, since it has too many under way

    assert refused.rcode() == dns.rcode.SERVFAIL
    assert outside.seen.count(NEVER) <= 128
    assert answers(ask(b, "example.org")) == ["192.0.2.1"]


def test_stopping_ends_what_is_under_way(
    host: Box, zone: Zone, resolv_conf: Path, box: Callable[[str], Box], nameserver: Start
) -> None:
    outside = nameserver(records=WORLD)
    server = DnsServer(zone, resolv_conf)
    a = box("a")
    udp, tcp = sockets(a)
    server.serve("a", udp, tcp, ["front"], True)  # before the start: it waits
    server.start()
    with (
        a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asker,
        a.open(lambda: socket.create_connection((ADDRESS, 53), timeout=5)) as connection,
    ):
        asker.sendto(dns.message.make_query(NEVER, "A").to_wire(), (ADDRESS, 53))
        eventually(lambda: NEVER in outside.seen)
        server.stop()
        assert udp.fileno() == tcp.fileno() == -1
        assert connection.recv(1) == b""
