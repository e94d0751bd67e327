"""Who reaches a published port, by which address of the host, over which protocol, and as whom it is seen there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bridge_nf")]
Boxes = Callable[[str], Box]


@dataclass(frozen=True)
class Place:
    stack: Stack
    boxes: dict[str, Box]


@pytest.fixture
def place(stack: Stack, host: Box, remote: Box, box: Boxes) -> Iterator[Place]:
    """server and neighbour on one network, stranger on another; 8080 leads to the server's port 80."""
    network = stack.network("n", "10.1.0.0/24", "fd01::/64")
    boxes = {name: box(name) for name in ("server", "neighbour", "stranger")}
    endpoint = stack.attach(network, boxes["server"], "10.1.0.2/24", "fd01::2/64")
    stack.attach(network, boxes["neighbour"], "10.1.0.3/24", "fd01::3/64")
    other = stack.network("two", "10.2.0.0/24", "fd02::/64")
    stack.attach(other, boxes["stranger"], "10.2.0.2/24", "fd02::2/64")
    stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8080, protocol="udp")])
    with serving(boxes["server"]):
        yield Place(stack, {**boxes, "host": host, "remote": remote})


V4, V6 = ("192.0.2.1", "10.1.0.1", "10.2.0.1"), ("2001:db8:2::1", "fd01::1", "fd02::1")
# Who asks, at which addresses of the host, and who the server then says it heard. From outside, the asker
# itself; from a container, the gateway, so that the answer comes back the way the question went.
ASKED = [
    ("remote", V4[:1], "192.0.2.2"),
    ("remote", V6[:1], "2001:db8:2::2"),
    ("server", V4, "10.1.0.1"),
    ("server", V6, "fd01::1"),
    ("neighbour", V4, "10.1.0.1"),
    ("neighbour", V6, "fd01::1"),
    ("stranger", V4, "10.1.0.1"),
    ("stranger", V6, "fd01::1"),
    ("host", ("127.0.0.1", "127.1.2.3"), "10.1.0.1"),
    # The host asks itself, from the address that it asks at.
    *(("host", (address,), address) for address in (*V4, *V6)),
]


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_everybody_reaches_a_published_port_by_every_address(place: Place, udp: bool) -> None:
    for name, addresses, heard in ASKED:
        for address in addresses:
            answer = ask(place.boxes[name], address, 8080, udp=udp)
            assert answer == f"server heard {heard}", (name, address)


def test_a_frame_to_the_loopback_address_is_not_for_the_host(place: Place) -> None:
    """Someone on the host's own wire may address frames to it and packets to 127.0.0.1."""
    host, remote, stack = place.boxes["host"], place.boxes["remote"], place.stack
    mac = next(link.mac for link in stack.netlink.links() if link.name == "wan2")
    with (
        place.boxes["server"].open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as inside,
        host.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as outside,
        remote.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        inside.bind(("0.0.0.0", 7777))
        outside.bind(("0.0.0.0", 7778))
        sender.bind(("wan0", 0))
        for target, port in (("127.0.0.1", 7778), ("192.0.2.1", 7778)):
            frame = Ether(dst=mac) / IP(src="192.0.2.2", dst=target) / UDP(sport=1, dport=port) / target.encode()
            sender.send(bytes(frame))
        outside.settimeout(3)
        assert outside.recv(100) == b"192.0.2.1"


def test_a_port_of_the_loopback_is_not_reached_by_a_frame_from_the_wire(
    stack: Stack, host: Box, remote: Box, box: Boxes
) -> None:
    network, a = stack.network("n", "10.1.0.0/24"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.bridge.publish(network, endpoint, [loopback(8080, to=7777, protocol="udp")])
    mac = next(link.mac for link in stack.netlink.links() if link.name == "wan2")
    with (
        a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        host.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client,
        remote.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        server.bind(("0.0.0.0", 7777))
        server.settimeout(3)
        sender.bind(("wan0", 0))
        for target in ("127.0.0.1", "10.1.0.2"):
            for port in (8080, 7777):
                sender.send(
                    bytes(Ether(dst=mac) / IP(src="192.0.2.2", dst=target) / UDP(sport=1, dport=port) / b"forged")
                )
        client.sendto(b"honest", ("127.0.0.1", 8080))
        assert server.recv(100) == b"honest"


def test_containers_do_not_reach_what_is_published_on_the_hosts_loopback(stack: Stack, host: Box, box: Boxes) -> None:
    network, a, b = stack.network("n", "10.1.0.0/24"), box("a"), box("b")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.attach(network, b, "10.1.0.3/24")
    stack.bridge.publish(network, endpoint, [loopback(8080)])
    with serving(a):
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        for who in (a, b):
            assert ask(who, "10.1.0.1", 8080, timeout_s=DROPPED_S) == "refused"


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_who_is_kept_apart_does_not_come_by_the_hosts_address(
    stack: Stack, host: Box, remote: Box, box: Boxes, udp: bool
) -> None:
    """With enable_icc off a published port is for everybody else; whatever br_netfilter does."""
    network = stack.network("n", "10.1.0.0/24", "fd01::/64", enable_icc="false")
    server, neighbour, stranger = box("server"), box("neighbour"), box("stranger")
    endpoint = stack.attach(network, server, "10.1.0.2/24", "fd01::2/64")
    stack.attach(network, neighbour, "10.1.0.3/24", "fd01::3/64")
    stack.attach(stack.network("two", "10.2.0.0/24", "fd02::/64"), stranger, "10.2.0.2/24", "fd02::2/64")
    stack.bridge.publish(network, endpoint, [anywhere(8080, protocol="udp" if udp else "tcp")])
    with serving(server):
        for asker in (remote, stranger, host):
            for address in (V4[0], V6[0]):
                assert ask(asker, address, 8080, udp=udp).startswith("server heard "), (asker, address)
        for asker in (neighbour, server):
            for address in (V4[0], V4[1], V6[0], V6[1]):
                assert ask(asker, address, 8080, udp=udp, timeout_s=DROPPED_S) == "silence", (asker, address)
