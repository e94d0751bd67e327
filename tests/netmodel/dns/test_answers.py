"""What we answer ourselves, seen from inside a sandbox."""

from __future__ import annotations

import random
import socket
import time
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import pytest

from netmodel.dns import DnsServer, Zone
from netmodel.model import PortConfig
from tests.netmodel.dns.conftest import ADDRESS, Serve, answers, ask, sockets
from tests.support.box import Box

pytestmark = pytest.mark.kernel

HTTP, DNS = PortConfig(container_port=80), PortConfig(container_port=53, protocol="udp")


@pytest.fixture
def zone() -> Zone:
    """web; and db, three replicas of a service, the first of which has both families."""
    zone = Zone()
    zone.attach("front", "web", ["shop-web-1", "web"], [ip_address("10.1.0.2")], "front")
    zone.attach("front", "db1", ["shop-db-1", "db"], [ip_address("10.1.0.3"), ip_address("fd01::3")], "front")
    zone.attach("front", "db2", ["shop-db-2", "db"], [ip_address("10.1.0.4")], "front")
    zone.attach("front", "db3", ["shop-db-3", "db"], [ip_address("10.1.0.5")], "front")
    zone.attach("back", "vault", ["vault"], [ip_address("10.2.0.2")], "back")
    return zone


def test_names_aliases_and_names_with_their_network(serve: Serve) -> None:
    a = serve()

    for name in ("shop-web-1", "web", "WEB", "web.front", "shop-web-1.front"):
        reply = ask(a, name)
        assert answers(reply) == ["10.1.0.2"]
        assert reply.answer[0].ttl == 0
        assert reply.flags & dns.flags.RA
    assert answers(ask(a, "db", "AAAA")) == ["fd01::3"]


def test_names_of_other_networks_do_not_exist(serve: Serve) -> None:
    a = serve(forward=False)

    assert ask(a, "vault").rcode() == dns.rcode.NXDOMAIN
    assert ask(a, "vault.back").rcode() == dns.rcode.NXDOMAIN


def test_all_addresses_of_a_shared_name_in_changing_order(serve: Serve) -> None:
    a = serve()

    orders = [answers(ask(a, "db")) for _ in range(40)]

    assert all(sorted(order) == ["10.1.0.3", "10.1.0.4", "10.1.0.5"] for order in orders)
    assert {order[0] for order in orders} == {"10.1.0.3", "10.1.0.4", "10.1.0.5"}


@pytest.mark.parametrize("rdtype", ["AAAA", "MX", "TXT", "HTTPS", "SRV"])
def test_what_a_known_name_lacks_is_an_empty_answer(serve: Serve, rdtype: str) -> None:
    """Not "no such name": the C library would believe that of the IPv4 address as well."""
    reply = ask(serve(), "web", rdtype)

    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.answer == []


def test_addresses_have_names(serve: Serve) -> None:
    a = serve(forward=False)

    assert answers(ask(a, "2.0.1.10.in-addr.arpa", "PTR")) == ["shop-web-1.front."]
    assert answers(ask(a, str(ip_address("fd01::3").reverse_pointer), "PTR")) == ["shop-db-1.front."]
    assert ask(a, "2.0.2.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert ask(a, "1.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN


def service(reply: dns.message.Message) -> list[str]:
    assert all(text.startswith("0 0 ") for text in answers(reply))
    return sorted(text.removeprefix("0 0 ") for text in answers(reply))


def test_services_have_ports(serve: Serve, zone: Zone) -> None:
    """By IANA's name, by number, and by the name that the port was declared with; all replicas of an alias."""
    admin = PortConfig(container_port=8443, names=("Admin",))
    for number in (1, 2):
        zone.attach(
            "front",
            f"r{number}",
            [f"rep-{number}", "rep"],
            [ip_address(f"10.1.2.{number}")],
            "front",
            [HTTP, DNS, admin],
        )
    a = serve()

    assert service(ask(a, "_http._tcp.rep", "SRV")) == ["80 rep-1.front.", "80 rep-2.front."]
    assert service(ask(a, "_HTTP._tcp.rep-1.front", "SRV")) == ["80 rep-1.front."]
    assert service(ask(a, "_80._tcp.rep-1", "SRV")) == ["80 rep-1.front."]
    assert service(ask(a, "_domain._udp.rep-2", "SRV")) == ["53 rep-2.front."]
    assert service(ask(a, "_admin._tcp.rep-2", "SRV", tcp=True)) == ["8443 rep-2.front."]
    assert {answers(ask(a, "_http._tcp.rep", "SRV"))[0] for _ in range(40)} == {
        "0 0 80 rep-1.front.",
        "0 0 80 rep-2.front.",
    }


def test_services_that_are_not_there(serve: Serve, zone: Zone) -> None:
    zone.attach("front", "web", ["web"], [ip_address("10.1.0.2")], "front", [HTTP, DNS])
    a = serve(forward=False)

    for name in ("_https._tcp.web", "_http._udp.web", "_domain._tcp.web", "_http._tcp.vault", "_81._tcp.web"):
        assert ask(a, name, "SRV").rcode() == dns.rcode.NXDOMAIN
    plain = ask(a, "_http._tcp.web", "A")  # the name is there, with nothing but SRV
    assert plain.rcode() == dns.rcode.NOERROR
    assert plain.answer == []


def test_changes_are_seen_by_the_next_query(serve: Serve, server: DnsServer, zone: Zone) -> None:
    a = serve(forward=False)
    assert ask(a, "new").rcode() == dns.rcode.NXDOMAIN
    assert ask(a, "vault").rcode() == dns.rcode.NXDOMAIN

    zone.attach("front", "new", ["new"], [ip_address("10.1.0.9")])
    assert answers(ask(a, "new")) == ["10.1.0.9"]
    zone.rename("new", ["newer"])
    assert ask(a, "new").rcode() == dns.rcode.NXDOMAIN
    zone.detach("new")
    assert ask(a, "newer").rcode() == dns.rcode.NXDOMAIN
    server.update("a", networks=["front", "back"])
    assert answers(ask(a, "vault")) == ["10.2.0.2"]


def test_long_answers_are_cut_over_udp_and_whole_over_tcp(serve: Serve, zone: Zone) -> None:
    for number in range(100):
        zone.attach("front", f"r{number}", ["many"], [ip_address(f"10.1.1.{number}")])
    a = serve()

    cut = ask(a, "many")
    assert cut.flags & dns.flags.TC
    assert len(cut.to_wire()) <= 512
    assert len(answers(cut)) > 25  # as many as fit: some resolvers make do with them
    assert len(answers(ask(a, "many", tcp=True))) == 100
    whole = ask(a, "many", use_edns=True, payload=4096)
    assert not whole.flags & dns.flags.TC
    assert len(answers(whole)) == 100


def raw(box: Box, packet: bytes) -> socket.socket:
    asker = box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    asker.settimeout(5)
    asker.sendto(packet, (ADDRESS, 53))
    return asker


def test_malformed_packets_get_an_error_or_nothing_and_hurt_nobody(serve: Serve) -> None:
    a = serve()
    good = dns.message.make_query("web", "A").to_wire()
    chance = random.Random(1)
    loop = good[:12] + b"\xc0\x0c\x00\x01\x00\x01"  # a name that is a pointer to itself
    packets = [b"", b"\0", good[:11], good[:12], good[:20], loop, good + b"trailing", b"\xff" * 600]
    packets += [bytes(chance.randrange(256) for _ in range(chance.randrange(1, 80))) for _ in range(200)]
    packets += [good[:2] + bytes(b ^ (chance.random() < 0.1) for b in good[2:]) for _ in range(200)]
    for packet in packets:
        raw(a, packet).close()
        with a.open(lambda: socket.create_connection((ADDRESS, 53))) as stream:
            stream.sendall(len(packet).to_bytes(2, "big") + packet)

    assert answers(ask(a, "web")) == ["10.1.0.2"]
    assert answers(ask(a, "web", tcp=True)) == ["10.1.0.2"]


@pytest.mark.parametrize(
    ("change", "rcode"),
    [
        (lambda q: q.to_wire()[:20], dns.rcode.FORMERR),
        (lambda q: q.to_wire()[:4] + b"\0\0" + q.to_wire()[6:12], dns.rcode.FORMERR),
        (lambda q: q.set_opcode(dns.opcode.NOTIFY) or q.to_wire(), dns.rcode.NOTIMP),
        (lambda q: q.use_edns(5) or q.to_wire(), dns.rcode.BADVERS),
    ],
)
def test_what_we_do_not_understand_is_said_so(serve: Serve, change: object, rcode: dns.rcode.Rcode) -> None:
    query = dns.message.make_query("web", "A")
    with raw(serve(), change(query)) as asker:  # type: ignore[operator]
        reply = dns.message.from_wire(asker.recv(512))

    assert (reply.id, reply.rcode()) == (query.id, rcode)


def test_answers_are_never_answered(serve: Serve) -> None:
    """Or else two servers would keep each other busy for ever."""
    a = serve()
    response = dns.message.make_response(dns.message.make_query("web", "A"))
    with raw(a, response.to_wire()) as asker:
        assert answers(ask(a, "web")) == ["10.1.0.2"]  # it was read before this one
        asker.setblocking(False)
        with pytest.raises(BlockingIOError):
            asker.recv(512)


def test_a_sandbox_is_served_again_on_new_sockets(serve: Serve, server: DnsServer, zone: Zone) -> None:
    a = serve()
    udp, tcp = sockets(a, 5353)
    server.serve("a", udp, tcp, ["back"], False)
    query = dns.message.make_query("vault", "A")

    assert answers(a.open(lambda: dns.query.udp(query, ADDRESS, port=5353, timeout=5))) == ["10.2.0.2"]
    with raw(a, query.to_wire()) as asker:
        asker.connect((ADDRESS, 53))
        asker.send(query.to_wire())
        with pytest.raises(ConnectionRefusedError):
            asker.recv(512)

    server.serve("a", udp, tcp, ["front"], False)  # the same sockets: they stay open
    query = dns.message.make_query("web", "A")
    assert answers(a.open(lambda: dns.query.tcp(query, ADDRESS, port=5353, timeout=5))) == ["10.1.0.2"]

    server.forget("a")
    server.forget("a")
    assert udp.fileno() == tcp.fileno() == -1
    server.serve("a", *sockets(a), ["front"], False)
    assert answers(ask(a, "web")) == ["10.1.0.2"]


def test_the_c_library_finds_names_at_once(serve: Serve, tmp_path: Path) -> None:
    """Also what does not exist: a resolver must not wait for somebody who is not there."""
    a = serve(forward=False)
    (tmp_path / "conf").write_text(f"nameserver {ADDRESS}\noptions ndots:0\n")
    script = f"mount --bind {tmp_path / 'conf'} /etc/resolv.conf && exec getent ahosts $0"

    found = a.run("unshare", "-m", "sh", "-c", script, "db")
    begun = time.monotonic()
    missing = a.run("unshare", "-m", "sh", "-c", script, "example.org", check=False)

    assert {line.split()[0] for line in found.stdout.splitlines()} == {"10.1.0.3", "10.1.0.4", "10.1.0.5", "fd01::3"}
    assert missing.returncode == 2
    assert time.monotonic() - begun < 2


def test_thousands_of_answers_a_second(serve: Serve, server: DnsServer) -> None:
    """Of the thread's own time, since other programs run, too; the aim is 10,000."""
    a = serve()
    query = dns.message.make_query("db", "A", use_edns=True).to_wire()
    thread = server._thread
    assert thread is not None
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    with raw(a, query) as asker:
        asker.recv(512)
        before = time.clock_gettime(clock)
        for _ in range(200):
            for _ in range(20):
                asker.sendto(query, (ADDRESS, 53))
            for _ in range(20):
                asker.recv(512)
        used = time.clock_gettime(clock) - before

    assert 4000 / used > 5000, f"{4000 / used:.0f} a second"
    print(f"{4000 / used:.0f} answers a second")
