"""Publishing: ports are really held, all or none, and forgotten with the connections that used them."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck

from drivers.api import Endpoint, Network, PortBinding
from drivers.errors import CannotPublish, PortInUse, TooManyPorts
from drivers.kernel.conntrack import Conntrack
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, route, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
Boxes = Callable[[str], Box]


@pytest.fixture
def published(stack: Stack, box: Boxes) -> tuple[Network[object], Endpoint, Box]:
    network, a = stack.network("n", "10.1.0.0/24"), box("a")
    return network, stack.attach(network, a, "10.1.0.2/24"), a


Published = tuple[Network[object], Endpoint, Box]


def held_by_nobody(port: int, address: str = "0.0.0.0") -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def test_a_published_port_is_held(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published

    ports = stack.bridge.publish(network, endpoint, [anywhere(8080), loopback(8081)])

    assert ports == (anywhere(8080), loopback(8081))
    assert not held_by_nobody(8080)
    assert not held_by_nobody(8081, "127.0.0.1")
    stack.bridge.unpublish(network, endpoint, ports)
    assert held_by_nobody(8080)
    assert held_by_nobody(8081, "127.0.0.1")


def test_a_port_may_be_chosen_by_us(stack: Stack, published: Published) -> None:
    network, endpoint, a = published

    [tcp, udp] = stack.bridge.publish(network, endpoint, [anywhere(0), anywhere(0, protocol="udp")])

    assert tcp.host_port > 0
    assert udp.host_port > 0
    with serving(a):
        assert ask(a, "10.1.0.1", tcp.host_port) == "a heard 10.1.0.1"
        assert ask(a, "10.1.0.1", udp.host_port, udp=True) == "a heard 10.1.0.1"


def test_the_first_free_port_of_a_range(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    wanted = PortBinding(protocol="tcp", host_port=9000, host_port_end=9002, container_port=80)

    ports = stack.bridge.publish(network, endpoint, [wanted, wanted, wanted])

    assert [port.host_port for port in ports] == [9000, 9001, 9002]
    with pytest.raises(PortInUse, match="range 9000-9002/tcp is in use"):
        stack.bridge.publish(network, endpoint, [wanted])


def test_a_port_in_use_names_who_holds_it_and_nothing_is_published(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    with socket.create_server(("127.0.0.1", 8081)), pytest.raises(PortInUse) as refusal:
        stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8081)])

    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert str(refusal.value) == f"host port 8081/tcp is in use by {name}, pid {os.getpid()}"
    assert refusal.value.kind == "conflict"
    assert held_by_nobody(8080)
    assert stack.firewall.published() == frozenset()


def test_a_port_of_another_container(stack: Stack, published: Published, box: Boxes) -> None:
    network, endpoint, _ = published
    other = stack.attach(network, box("b"), "10.1.0.3/24")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])
    before = stack.firewall.published()

    for wanted in (anywhere(8080), loopback(8080)):
        with pytest.raises(PortInUse, match="8080/tcp is in use by another container"):
            stack.bridge.publish(network, other, [wanted])

    # Nor does withdrawing what it never had take the port from its owner.
    stack.bridge.unpublish(network, other, [anywhere(8080)])
    assert stack.firewall.published() == before
    assert not held_by_nobody(8080)


def test_one_port_for_two_of_a_container(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    with pytest.raises(PortInUse, match=r"host port 8080/tcp is in use by what is published for 10\.1\.0\.2"):
        stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8080, to=81)])
    assert held_by_nobody(8080)
    assert stack.firewall.published() == frozenset()


def test_an_address_that_the_host_lacks(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    with pytest.raises(CannotPublish, match=r"203\.0\.113\.9:8080/tcp: this host has no address"):
        stack.bridge.publish(network, endpoint, [loopback(8080, at="203.0.113.9")])


def test_a_server_that_has_just_ended_does_not_hold_its_port(stack: Stack, published: Published) -> None:
    """Its connections linger in TIME_WAIT for a minute."""
    network, endpoint, _ = published
    with (
        socket.create_server(("127.0.0.1", 8080)) as server,
        socket.create_connection(("127.0.0.1", 8080)) as client,
    ):
        connection, _peer = server.accept()
        connection.close()
        assert client.recv(1) == b""

    assert stack.bridge.publish(network, endpoint, [anywhere(8080)])


def test_a_networks_host_binding_is_the_default(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    options = stack.bridge.parse({"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"})
    network = replace(network, options=options)

    ports = stack.bridge.publish(network, endpoint, [anywhere(8080)])

    assert ports == (loopback(8080),)
    stack.bridge.unpublish(network, endpoint, [anywhere(8080)])
    assert stack.firewall.published() == frozenset()


def test_withdrawing_a_port_ends_the_conversations_through_it(
    stack: Stack, host: Box, remote: Box, published: Published
) -> None:
    """UDP included: while datagrams keep coming, their entry would outlive the rule."""
    network, endpoint, a = published
    ports = stack.bridge.publish(network, endpoint, [anywhere(8080, protocol="udp"), anywhere(8080)])
    other = stack.bridge.publish(network, endpoint, [anywhere(9090, protocol="udp")])
    with serving(a), remote.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(3)
        client.connect(("192.0.2.1", 8080))
        client.send(b"x")
        assert client.recv(100) == b"a heard 192.0.2.2"
        assert ask(remote, "192.0.2.1", 9090, udp=True) == "a heard 192.0.2.2"
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"

        stack.bridge.unpublish(network, endpoint, ports)
        stack.bridge.settle()

        with Conntrack() as table:
            assert {one.original.destination_port for one in table.translated()} == {9090}
        client.settimeout(DROPPED_S)
        client.send(b"x")
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            client.recv(100)
    stack.bridge.unpublish(network, endpoint, other)


def test_closing_what_was_only_open_ends_the_conversations_through_it(stack: Stack, remote: Box, box: Boxes) -> None:
    """At the container's own address, on a network that is routed to: else whoever has it next would be talked to."""
    a = box("a")
    network = stack.network("n", "10.1.0.0/24", gateway_mode_ipv4="routed")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    route(remote, "10.1.0.0/24", "192.0.2.1")
    open_ports = [anywhere(0, protocol="udp")]
    stack.bridge.open_ports(network, endpoint, open_ports)
    with serving(a), remote.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(3)
        client.connect(("10.1.0.2", 80))
        client.send(b"x")
        assert client.recv(100) == b"a heard 192.0.2.2"

        stack.bridge.shut_ports(network, endpoint, open_ports)
        stack.bridge.settle()

        client.settimeout(DROPPED_S)
        client.send(b"x")
        with pytest.raises(TimeoutError):
            client.recv(100)


@pytest.mark.not_on("it has to be told each connection that it shall forget", "debian")
def test_the_last_conversations_have_ended_when_the_ports_are_withdrawn(
    stack: Stack, remote: Box, published: Published
) -> None:
    """Nobody settles anything here. Linux 6.10 or later forgets in one step what leads to an address."""
    network, endpoint, a = published
    some, rest = [anywhere(8080, protocol="udp")], [anywhere(9090, protocol="udp"), anywhere(8080)]
    stack.bridge.publish(network, endpoint, [*some, *rest])
    with serving(a), Conntrack() as table:
        for port in (8080, 9090):
            assert ask(remote, "192.0.2.1", port, udp=True) == "a heard 192.0.2.2"

        stack.bridge.unpublish(network, endpoint, some)
        assert 9090 in {one.original.destination_port for one in table.translated()}
        stack.bridge.unpublish(network, endpoint, rest)
        assert table.translated() == []


def test_conversations_of_many_containers_end_together(stack: Stack, remote: Box, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24", "fd01::/64")
    boxes = {}
    for number in range(4):
        made = box(f"c{number}")
        boxes[8080 + number] = stack.attach(network, made, f"10.1.0.{2 + number}/24", f"fd01::{2 + number}/64"), made
    for port, (owner, made) in boxes.items():
        stack.bridge.publish(network, owner, [anywhere(port, protocol="udp")])
        with serving(made):
            assert "heard" in ask(remote, "192.0.2.1", port, udp=True)
            assert "heard" in ask(remote, "2001:db8:2::1", port, udp=True)

    for port, (owner, _) in boxes.items():
        stack.bridge.unpublish(network, owner, [anywhere(port, protocol="udp")])
    stack.bridge.settle()

    with Conntrack() as table:
        assert table.translated() == []


def test_datagrams_that_came_too_early_follow_the_port_when_it_is_published(
    stack: Stack, remote: Box, published: Published
) -> None:
    network, endpoint, a = published
    with serving(a), remote.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind(("0.0.0.0", 5555))
        client.settimeout(3)
        # The host is not silent about it (port unreachable); an unconnected socket is not told.
        client.sendto(b"early", ("192.0.2.1", 8080))
        client.sendto(b"early", ("192.0.2.1", 8080))

        stack.bridge.publish(network, endpoint, [anywhere(8080, protocol="udp")])
        stack.bridge.settle()
        client.sendto(b"x", ("192.0.2.1", 8080))

        assert client.recv(100) == b"a heard 192.0.2.2"


def test_a_hundred_ports_are_one_step(stack: Stack, published: Published) -> None:
    network, endpoint, _ = published
    wanted = [anywhere(20000 + number, to=number + 1) for number in range(100)]

    ports = stack.bridge.publish(network, endpoint, wanted)

    assert len(stack.firewall.published()) == 100
    stack.bridge.unpublish(network, endpoint, ports)
    assert stack.firewall.published() == frozenset()


@pytest.mark.not_on("emulated, ten thousand relayed ports take longer than an answer is waited for", "debian")
def test_ten_thousand_ports_are_one_transaction(stack: Stack, remote: Box, published: Published) -> None:
    network, endpoint, a = published
    wanted = [anywhere(10000 + number, to=number + 1) for number in range(10_000)]

    before = generation()
    ports = stack.bridge.publish(network, endpoint, wanted)
    assert generation() == before + 1

    assert ports == tuple(wanted)
    with serving(a, 1), serving(a, 10_000):
        for port in (10_000, 19_999):
            assert ask(remote, "192.0.2.1", port) == "a heard 192.0.2.2"
            assert ask(remote, "2001:db8:2::1", port) == "a heard 10.1.0.1"
    stack.bridge.unpublish(network, endpoint, ports)
    assert generation() == before + 2
    assert stack.firewall.published() == frozenset()
    assert held_by_nobody(15_000)


def generation() -> int:
    """How many transactions the rule set of this namespace has seen.

    Source: Linux include/uapi/linux/netfilter/nf_tables.h, NFT_MSG_GETGEN, NFTA_GEN_ID.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
        netfilter.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0))
        length, kind, number = struct.unpack_from("=HH4s", netfilter.recv(4096), 20)
        assert (length, kind) == (8, 1)
        return int.from_bytes(number, "big")


def test_more_ports_than_the_engine_can_hold_are_refused_before_anything_is_changed(
    stack: Stack, published: Published
) -> None:
    network, endpoint, _ = published
    before = generation()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, limits[1]))
    try:
        with pytest.raises(
            TooManyPorts, match="cannot hold 1900 host ports: the engine may open 2000 files"
        ) as refusal:
            stack.bridge.publish(network, endpoint, [anywhere(20000 + number) for number in range(1900)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert refusal.value.hint
    assert generation() == before
    assert held_by_nobody(20000)


def test_ports_for_any_address_and_for_one_are_different_ports(stack: Stack, remote: Box, published: Published) -> None:
    """Chosen from one range: none of the host's sockets would be found by a packet for another's port."""
    network, endpoint, _ = published
    wanted = [
        replace(anywhere(8080, to=80), host_port_end=8083),
        replace(loopback(8080, to=81), host_port_end=8083),
        replace(loopback(8080, at="192.0.2.1", to=82), host_port_end=8083),
    ]

    ports = stack.bridge.publish(network, endpoint, wanted)

    # Both of the specific ones may have the same: they are different addresses.
    assert [port.host_port for port in ports] == [8080, 8081, 8081]


def test_one_port_at_two_addresses_leads_to_two_containers(
    stack: Stack, host: Box, remote: Box, published: Published, box: Boxes
) -> None:
    network, endpoint, a = published
    b = box("b")
    other = stack.attach(network, b, "10.1.0.3/24")
    stack.bridge.publish(network, endpoint, [loopback(8080)])
    stack.bridge.publish(network, other, [loopback(8080, at="192.0.2.1")])

    with serving(a), serving(b):
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        assert ask(remote, "192.0.2.1", 8080) == "b heard 192.0.2.2"
        assert ask(host, "192.0.2.1", 8080) == "b heard 192.0.2.1"


def test_sctp_is_translated_both_ways(stack: Stack, remote: Box, published: Published) -> None:
    """A kernel may forward what it has no sockets of; then the packets are made by hand."""
    network, endpoint, a = published
    [port] = stack.bridge.publish(network, endpoint, [anywhere(9000, to=9, protocol="sctp")])
    assert port.host_port == 9000
    first = IP(src="192.0.2.2", dst="192.0.2.1") / SCTP(sport=7777, dport=9000) / SCTPChunkInit(init_tag=5)
    with raw_sctp(remote) as client, raw_sctp(a) as server:
        client.sendto(bytes(first), ("192.0.2.1", 0))

        question = IP(server.recv(500))
        assert (question.src, question.dst) == ("192.0.2.2", "10.1.0.2")
        assert (question[SCTP].sport, question[SCTP].dport) == (7777, 9)

        reply = IP(src="10.1.0.2", dst="192.0.2.2") / SCTP(sport=9, dport=7777, tag=5) / SCTPChunkInitAck(init_tag=6)
        server.sendto(bytes(reply), ("192.0.2.2", 0))

        answer = IP(client.recv(500))
        assert (answer.src, answer[SCTP].sport, answer[SCTP].dport) == ("192.0.2.1", 9000, 7777)

    with pytest.raises(PortInUse, match="9000/sctp is in use by another container"):
        stack.bridge.publish(network, stack.attach(network, Box("b"), "10.1.0.3/24"), [loopback(9000, protocol="sctp")])
    stack.bridge.unpublish(network, endpoint, [port])
    assert stack.firewall.published() == frozenset()


def raw_sctp(box: Box) -> socket.socket:
    opened = box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    opened.settimeout(3)
    return opened


def test_a_range_of_the_same_length_keeps_its_order(stack: Stack, host: Box, published: Published) -> None:
    network, endpoint, a = published
    stack.bridge.publish(network, endpoint, [anywhere(7000 + offset, to=80 + offset) for offset in range(5)])
    with serving(a, 84):
        assert ask(host, "127.0.0.1", 7004) == "a heard 10.1.0.1"
        assert ask(host, "127.0.0.1", 7003) == "refused"


def test_conversations_do_not_survive_their_port_whatever_changes_hands(
    stack: Stack, remote: Box, published: Published, box: Boxes
) -> None:
    """A sender of datagrams that never pauses reaches the port's next owner, not the last one."""
    network, endpoint, a = published
    b = box("b")
    other = stack.attach(network, b, "10.1.0.3/24")
    with serving(a), serving(b), remote.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(3)
        client.connect(("192.0.2.1", 8080))
        for owner, name in ((endpoint, b"a"), (other, b"b"), (endpoint, b"a")):
            ports = stack.bridge.publish(network, owner, [anywhere(8080, protocol="udp")])
            stack.bridge.settle()
            client.send(b"x")
            assert client.recv(100) == name + b" heard 192.0.2.2"
            stack.bridge.unpublish(network, owner, ports)
            stack.bridge.settle()
        with Conntrack() as table:
            assert table.translated() == []
