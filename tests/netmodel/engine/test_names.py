"""Names as containers see them: the name service at 127.0.0.11, /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

import dns.message
import dns.query
import dns.rcode
import pytest

from drivers.kernel.namespace import open_in
from netmodel.engine import Engine
from netmodel.model import Container, EndpointConfig, NetworkConfig, PoolConfig, PortConfig
from tests.netmodel.dns.conftest import answers
from tests.netmodel.dns.nameserver import NameServer
from tests.netmodel.engine.conftest import Run, clean_up, execute, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel
T = TypeVar("T")
WORLD = {"example.org.": ["192.0.2.1"], "bare.": ["192.0.2.2"]}


def subnet(text: str) -> tuple[PoolConfig, ...]:
    return (PoolConfig(subnet=IPv4Network(text)),)


def inside(engine: Engine, ref: str, work: Callable[[], T]) -> T:
    return open_in(engine.sandbox_path(engine.container(ref).id), work)


def ask(engine: Engine, ref: str, name: str, rdtype: str = "A", tcp: bool = False) -> dns.message.Message:
    query, through = dns.message.make_query(name, rdtype), dns.query.tcp if tcp else dns.query.udp
    return inside(engine, ref, lambda: through(query, "127.0.0.11", timeout=8))


def lookup(engine: Engine, ref: str, name: str) -> list[str]:
    """What the C library in the container says."""
    code, output = execute(engine, ref, "getent", "ahosts", name)
    return sorted({line.split()[0] for line in output.splitlines()}) if code == 0 else []


def address_of(engine: Engine, ref: str, network: str) -> str:
    [endpoint] = engine.endpoints(engine.container(ref).id, engine.network(network).id)
    return str(endpoint.addresses[0].ip)


@pytest.fixture
def world(host: Box) -> Iterator[NameServer]:
    """Stands for the name server that the machine's own resolv.conf names first."""
    lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    servers = [words[1] for words in lines if words[:1] == ["nameserver"] and ":" not in words[1]]
    if not servers:
        pytest.skip("missing: an IPv4 name server in /etc/resolv.conf")
    elsewhere = not servers[0].startswith("127.")
    if elsewhere:
        host.run("ip", "addr", "add", f"{servers[0]}/32", "dev", "lo")
    server = NameServer(host, servers[0], records=WORLD)
    yield server
    server.close()
    if elsewhere:
        host.run("ip", "addr", "del", f"{servers[0]}/32", "dev", "lo")


def test_every_kind_of_question(engine: Engine, run: Run) -> None:
    """A, AAAA, PTR, and an empty answer for what a known name does not have; over UDP and TCP."""
    engine.create_network(NetworkConfig(name="front", enable_ipv6=True, internal=True))
    engine.create_network(NetworkConfig(name="v4", internal=True))
    run("web", networks=(EndpointConfig(network="front", aliases=("www",)),))
    run("user", "front", "v4")
    run("old", "v4")
    [endpoint] = engine.endpoints(engine.container("web").id)
    ipv4, ipv6 = (str(address.ip) for address in endpoint.addresses)

    for name in ("web", "www", "WEB.front", "www.front", endpoint.container_id[:12]):
        assert answers(ask(engine, "user", name)) == [ipv4]
        assert answers(ask(engine, "user", name, "AAAA", tcp=True)) == [ipv6]
    for address in endpoint.addresses:
        assert answers(ask(engine, "user", address.ip.reverse_pointer, "PTR")) == ["web.front."]
    for name, rdtype in (("web", "MX"), ("old", "AAAA")):
        reply = ask(engine, "user", name, rdtype)
        assert reply.rcode() == dns.rcode.NOERROR
        assert reply.answer == []
    assert lookup(engine, "user", "web") == sorted([ipv4, ipv6])


def test_services_of_exposed_and_published_ports(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    published = PortConfig(container_port=9000, names=("metrics", "http"))
    run("web", "lan", ports=(published,), exposed_ports=(PortConfig(container_port=443),))
    run("user", "lan")

    for name, port in (("_https._tcp.web", 443), ("_metrics._tcp.web", 9000), ("_http._tcp.web.lan", 9000)):
        assert answers(ask(engine, "user", name, "SRV")) == [f"0 0 {port} web.lan."]
    assert answers(ask(engine, "user", "web.lan")) == [address_of(engine, "web", "lan")]


def test_a_renamed_container_is_never_without_a_name(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan", internal=True))
    run("one", networks=(EndpointConfig(network="lan", aliases=("fixed",)),))
    run("user", "lan")

    engine.rename("one", "two")

    assert answers(ask(engine, "user", "two.lan")) == [address_of(engine, "two", "lan")]
    assert answers(ask(engine, "user", "fixed")) == [address_of(engine, "two", "lan")]
    assert ask(engine, "user", "one").rcode() == dns.rcode.NXDOMAIN


def test_internal_network_dns(engine: Engine, run: Run, world: NameServer) -> None:
    """Only who has a way out may ask the world; it follows each connect and disconnect."""
    engine.create_network(NetworkConfig(name="inside", internal=True))
    engine.create_network(NetworkConfig(name="outside"))
    run("web", "inside")

    assert lookup(engine, "web", "example.org") == []
    assert ask(engine, "web", "example.org").rcode() == dns.rcode.NXDOMAIN
    assert world.seen == []

    engine.connect("outside", "web")
    assert lookup(engine, "web", "example.org") == ["192.0.2.1"]
    assert answers(ask(engine, "web", "example.org", tcp=True)) == ["192.0.2.1"]

    engine.disconnect("outside", "web")
    assert lookup(engine, "web", "example.org") == []


def test_external_dns_in_an_ipv6_only_network(engine: Engine, run: Run, world: NameServer) -> None:
    """The host asks for it: that no IPv4 leaves the container does not matter."""
    engine.create_network(NetworkConfig(name="six", enable_ipv4=False, enable_ipv6=True))
    run("web", "six")
    run("friend", "six")

    assert answers(ask(engine, "web", "example.org")) == ["192.0.2.1"]
    assert lookup(engine, "web", "example.org") == ["::ffff:192.0.2.1"]  # the C library's way to say so there
    assert execute(engine, "web", "ping", "-6", "-c1", "-W1", "friend")[0] == 0


def test_own_servers_are_asked_from_inside_even_on_an_internal_network(
    engine: Engine, run: Run, world: NameServer
) -> None:
    """A name server that is a node of the topology; nobody outside hears of the question."""
    engine.create_network(NetworkConfig(name="lab", internal=True, pools=subnet("10.8.0.0/24")))
    run("ns", networks=(EndpointConfig(network="lab", ipv4_address=IPv4Address("10.8.0.53")),))
    run("user", "lab", dns=(IPv4Address("10.8.0.99"), IPv4Address("10.8.0.53")))
    netns = engine.sandbox_path(engine.container("ns").id)

    class Node:
        def open(self, factory: Callable[[], T]) -> T:
            return open_in(netns, factory)

    server = NameServer(Node(), "10.8.0.53", records={"example.org.": ["10.8.0.80"]})  # type: ignore[arg-type]
    try:
        # The first one does not even exist; nobody waits for it longer than a second.
        assert lookup(engine, "user", "example.org") == ["10.8.0.80"]
        assert answers(ask(engine, "user", "example.org")) == ["10.8.0.80"]
        assert world.seen == []
    finally:
        server.close()


def test_ndots_counts_by_its_value(engine: Engine, run: Run, world: NameServer) -> None:
    """Above 0, the resolver tries its search list; a bare name is no business of the world's then."""
    engine.create_network(NetworkConfig(name="lan"))
    run("none", "lan")
    run("zero", "lan", dns_options=("ndots:0", "timeout:2"))
    run("one", "lan", dns_options=("ndots:1",), dns_search=("org",))

    assert "options ndots:0\n" in output_of(engine, "none", "cat", "/etc/resolv.conf")
    assert "options ndots:0 timeout:2\n" in output_of(engine, "zero", "cat", "/etc/resolv.conf")
    assert "search org\noptions ndots:1\n" in output_of(engine, "one", "cat", "/etc/resolv.conf")
    for name in ("none", "zero"):
        assert lookup(engine, name, "bare") == ["192.0.2.2"]
    assert ask(engine, "one", "bare").rcode() == dns.rcode.NXDOMAIN
    assert lookup(engine, "one", "example") == ["192.0.2.1"]
    assert answers(ask(engine, "one", "none")) == [address_of(engine, "none", "lan")]


def test_etc_hosts_follows_connect_and_disconnect_in_place(engine: Engine, run: Run) -> None:
    """The same file throughout, and what the container wrote into it stays."""
    engine.create_network(NetworkConfig(name="one", pools=subnet("10.11.0.0/24")))
    engine.create_network(NetworkConfig(name="two", pools=subnet("10.12.0.0/24")))
    run("web", "two", hostname="boss", extra_hosts={"gate": "host-gateway", "pair": "192.0.2.7,2001:db8::7"})

    def hosts() -> dict[str, list[str]]:
        lines = [line.split() for line in output_of(engine, "web", "cat", "/etc/hosts").splitlines()]
        names = {name for words in lines for name in words[1:]}
        return {name: [words[0] for words in lines if name in words[1:]] for name in names}

    inode = output_of(engine, "web", "stat", "-c", "%i", "/etc/hosts")
    before = hosts()
    assert before["boss"] == [address_of(engine, "web", "two")]
    assert before["pair"] == ["192.0.2.7", "2001:db8::7"]
    assert before["gate"] == ["10.12.0.1"]
    output_of(engine, "web", "sh", "-c", "echo '192.0.2.9 mine' >>/etc/hosts")

    engine.connect("one", "web")
    now = hosts()
    assert now["boss"] == [address_of(engine, "web", "two"), address_of(engine, "web", "one")]
    assert now["gate"] == ["10.11.0.1"]  # where its default route leads now
    assert now["mine"] == ["192.0.2.9"]

    engine.disconnect("one", "web")
    assert hosts() == {**before, "mine": ["192.0.2.9"]}
    assert output_of(engine, "web", "stat", "-c", "%i", "/etc/hosts") == inode


def test_host_gateway_has_both_families(engine: Engine, run: Run) -> None:
    pools = (PoolConfig(subnet=IPv4Network("10.13.0.0/24")), PoolConfig(subnet=IPv6Network("fd13::/64")))
    engine.create_network(NetworkConfig(name="dual", enable_ipv6=True, pools=pools))
    run("web", "dual", extra_hosts={"gate": "host-gateway"})
    run("native", network_mode="host", extra_hosts={"gate": "host-gateway"})

    assert lookup(engine, "web", "gate") == ["10.13.0.1", "fd13::1"]
    assert execute(engine, "web", "ping", "-6", "-c1", "-W1", "gate")[0] == 0
    assert execute(engine, "web", "ping", "-4", "-c1", "-W1", "gate")[0] == 0
    assert lookup(engine, "native", "gate") == ["127.0.0.1"]


def test_resolv_conf_follows_the_first_and_the_last_network(engine: Engine, run: Run) -> None:
    """Started on no network at all, connected, and disconnected again."""
    engine.create_network(NetworkConfig(name="lan", internal=True))
    run("friend", "lan")
    run("web", "lan")
    engine.stop("web", 0)
    engine.disconnect("lan", "web")
    engine.start("web")

    def servers() -> list[str]:
        lines = output_of(engine, "web", "cat", "/etc/resolv.conf").splitlines()
        return [line for line in lines if line.startswith("nameserver")]

    assert servers() == []
    engine.connect("lan", "web")
    assert servers() == ["nameserver 127.0.0.11"]
    assert lookup(engine, "web", "friend") == [address_of(engine, "friend", "lan")]
    assert lookup(engine, "friend", "web") == [address_of(engine, "web", "lan")]
    engine.disconnect("lan", "web")
    assert servers() == []


def test_names_are_served_again_after_the_engine_was_away(host: Box, tmp_path: Path) -> None:
    """On new sockets, to who is on a network and to who has just left the last one."""
    first = Engine(tmp_path / "root")
    first.open()
    first.create_network(NetworkConfig(name="lan", internal=True))
    run = runner(first)
    for name in ("web", "user", "lonely"):
        run(name, "lan")
    first.disconnect("lan", "lonely")
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    assert lookup(second, "user", "web") == [address_of(second, "web", "lan")]
    assert ask(second, "lonely", "web").rcode() == dns.rcode.NXDOMAIN
    second.connect("lan", "lonely")
    assert lookup(second, "lonely", "web") == [address_of(second, "web", "lan")]
    clean_up(second)


def test_who_shares_a_network_sees_the_same_files(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan", internal=True))
    engine.create_network(NetworkConfig(name="more", internal=True))
    run("owner", "lan")
    sharer: Container = run("sharer", network_mode="container:owner")

    engine.connect("more", "owner")

    address = address_of(engine, "owner", "more")
    assert address in output_of(engine, sharer.name, "cat", "/etc/hosts")
    run("friend", "more")
    assert lookup(engine, "sharer", "friend") == [address_of(engine, "friend", "more")]
