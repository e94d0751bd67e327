"""With netmodel.bridge.mac_check a container's frames bear its endpoint's MAC address, or arrive nowhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from drivers.api import Endpoint, Network
from drivers.bridge_port import veth_name
from drivers.bridge_rules import bridge_name
from drivers.kernel.bridge import is_locked
from drivers.kernel.link import get_link, set_mac
from drivers.kernel.netlink import Netlink
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, ping, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bridge_nf")]
Boxes = Callable[[str], Box]
CHECKED = {"netmodel.bridge.mac_check": "true"}
STRANGER = "02:de:ad:00:00:01"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
MARK, LAST = b"of this test", b"of this test: the last one"


@contextmanager
def listening(box: Box, link: str) -> Iterator[socket.socket]:
    with box.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))) as heard:
        heard.bind((link, 0x0003))
        heard.settimeout(3)
        yield heard


def interface(box: Box) -> str:
    return next(name for _, name in box.open(socket.if_nameindex) if name != "lo")


def senders(heard: socket.socket) -> set[str]:
    """Of the marked frames that arrived by the time the last one did."""
    found = set()
    while True:
        frame, address = heard.recvfrom(2000)
        if MARK in frame and address[2] != socket.PACKET_OUTGOING:
            found.add(frame[6:12].hex(":"))
            if LAST in frame:
                return found


def frames(mac: str, mark: bytes) -> list[Packet]:
    """What a host at this MAC address might say to everybody."""
    ether = Ether(src=mac, dst=EVERYBODY)
    return [
        ether / ARP(op="is-at", hwsrc=mac, psrc="10.1.0.1", pdst="10.1.0.1") / mark,
        ether / IP(src="10.1.0.2", dst="10.1.0.255") / TCP(sport=7, dport=80, flags="S") / mark,
        ether / IPv6(src="fd01::2", dst="ff02::1") / ICMPv6ND_NA(tgt="fd01::1") / mark,
        ether / IP(src="10.1.0.2", dst="10.1.0.255") / ICMP() / mark,
    ]


def send(box: Box, packets: list[Packet]) -> None:
    with box.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sender:
        sender.bind((interface(box), 0))
        for packet in packets:
            sender.send(bytes(packet))


def two(stack: Stack, box: Boxes, **options: str) -> tuple[Network[object], Box, Box, Endpoint, Endpoint]:
    network, a, b = stack.network("n", "10.1.0.0/24", "fd01::/64", **options), box("a"), box("b")
    first = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    return network, a, b, first, stack.attach(network, b, "10.1.0.3/24", "fd01::3/64")


@pytest.mark.parametrize("checked", ["true", "false"])
def test_a_forged_sender_is_heard_by_nobody(stack: Stack, host: Box, box: Boxes, checked: str) -> None:
    """A stranger's address, another container's, and the gateway's; without the check all of them arrive."""
    network, a, b, own, other = two(stack, box, **{"netmodel.bridge.mac_check": checked})
    gateway = stack.netlink.link(bridge_name(network))
    assert gateway is not None
    forged = [STRANGER, other.mac, gateway.mac]

    with listening(b, interface(b)) as at_b, listening(host, gateway.name) as at_host:
        send(a, [packet for mac in forged for packet in frames(mac, MARK)] + frames(own.mac, LAST))

        expected = {own.mac} if checked == "true" else {own.mac, *forged}
        assert (senders(at_b), senders(at_host)) == (expected, expected)


def test_honest_containers_notice_nothing(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    network, a, b, own, _ = two(stack, box, **CHECKED)
    stack.bridge.publish(network, own, [anywhere(8080)])
    with serving(a), serving(b), serving(remote):
        for address in ("10.1.0.3", "fd01::3"):  # found by ARP, and by neighbour discovery
            assert ask(a, address).startswith("b heard ")
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(a, "192.0.2.1", 8080) == "a heard 10.1.0.1"  # it turns around


def test_who_takes_another_address_is_alone_until_it_has_its_own_again(stack: Stack, box: Boxes) -> None:
    _, a, _, own, _ = two(stack, box, **CHECKED)
    with Netlink(a.path) as inside:
        inside.apply([set_mac(interface(a), STRANGER)])
        assert ping(a, "10.1.0.3", timeout_s=DROPPED_S) is None
        assert ping(a, "10.1.0.1", timeout_s=DROPPED_S) is None

        inside.apply([set_mac(interface(a), own.mac)])
        assert ping(a, "10.1.0.3") is not None


def test_containers_that_are_kept_apart_reach_the_host(stack: Stack, remote: Box, box: Boxes) -> None:
    _, a, _, own, _ = two(stack, box, enable_icc="false", **CHECKED)
    assert stack.netlink.get(get_link(veth_name(own)), is_locked) == [True]
    assert ping(a, "10.1.0.1") is not None
    assert ping(a, "192.0.2.2") is not None
    assert ping(a, "10.1.0.3", timeout_s=DROPPED_S) is None


def test_nobody_else_on_an_adopted_bridge_takes_over_its_address(stack: Stack, host: Box, box: Boxes) -> None:
    """A bridge learns where an address is from whoever says it; of a container's it is told."""
    thief = box("thief")
    host.run("ip", "link", "add", "br0", "type", "bridge")
    host.run("ip", "link", "add", "uplink", "master", "br0", "type", "veth", "peer", "name", "eth0")
    host.run("ip", "link", "set", "eth0", "netns", str(thief.path))
    for at, link in ((host, "br0"), (host, "uplink"), (thief, "eth0")):
        at.run("ip", "link", "set", link, "up")
    _, _a, b, own, _ = two(stack, box, name="br0", **CHECKED)

    with listening(b, interface(b)) as heard:
        send(thief, frames(own.mac, LAST))
        assert senders(heard) == {own.mac}  # it is not checked itself: it is no container
    assert ping(b, "10.1.0.2") is not None
