"""Networks that are one VLAN of a bridge, on the kernels that have VLANs: `make test-kernels` runs this."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from drivers.api import Network
from drivers.bridge_port import veth_name
from drivers.bridge_rules import bridge_name, host_link
from drivers.errors import InvalidOption, LinkTaken
from drivers.kernel.sysctl import read_sysctl
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, ping, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
Boxes = Callable[[str], Box]
EVERYBODY, SOMEBODY = "ff:ff:ff:ff:ff:ff", "02:de:ad:00:00:01"


@pytest.fixture
def switch(host: Box, box: Boxes) -> Box:
    """What is behind the trunk of the host's bridge br0: .254 of 10.5.0.0/24 in VLAN 10, and of 10.6.0.0/24 in 20."""
    outside = box("switch")
    ip(
        host,
        "link add br0 up type bridge vlan_filtering 1",
        "link add uplink up master br0 type veth peer name eth0",
        f"link set eth0 netns {outside.path}",
    )
    host.run("bridge", "-batch", "-", text="vlan add dev uplink vid 10\nvlan add dev uplink vid 20\n")
    lines = ["link set eth0 up"]
    for vlan, address in (("10", "10.5.0.254/24"), ("20", "10.6.0.254/24")):
        name = f"eth0.{vlan}"
        lines += [f"link add {name} up link eth0 type vlan id {vlan}", f"addr add {address} dev {name}"]
    ip(outside, *lines)
    return outside


def ip(box: Box, *lines: str) -> None:
    """One program for all: starting one is what takes longest on an emulated machine."""
    box.run("ip", "-batch", "-", text="\n".join(lines) + "\n")


def a_vlan(stack: Stack, called: str, number: int, subnet: str, **options: str) -> Network[Any]:
    return stack.network(called, subnet, **{"name": "br0", "netmodel.bridge.vlan": str(number), **options})


def vlans(host: Box) -> dict[str, list[tuple[int, bool]]]:
    """Of every bridge and port: its VLANs, each with whether frames leave with a tag."""
    told = json.loads(host.run("bridge", "-j", "vlan", "show").stdout)
    return {
        one["ifname"]: [(own["vlan"], "Egress Untagged" not in own.get("flags", ())) for own in one["vlans"]]
        for one in told
    }


def send(box: Box, link: str, *packets: Packet) -> None:
    with box.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sender:
        sender.bind((link, 0))
        for packet in packets:
            sender.send(bytes(packet))


def interface(box: Box) -> str:
    return next(name for _, name in box.open(socket.if_nameindex) if name != "lo")


@pytest.mark.usefixtures("bridge_nf")
def test_a_network_is_one_vlan_of_a_bridge_with_a_trunk(
    stack: Stack, host: Box, switch: Box, remote: Box, box: Boxes
) -> None:
    ten = a_vlan(stack, "ten", 10, "10.5.0.0/24", **{"netmodel.bridge.mac_check": "true"})
    twenty = a_vlan(stack, "twenty", 20, "10.6.0.0/24")
    a, b, c = box("a"), box("b"), box("c")
    endpoint = stack.attach(ten, a, "10.5.0.2/24")
    stack.attach(ten, b, "10.5.0.3/24")
    stack.attach(twenty, c, "10.6.0.2/24")
    stack.bridge.publish(ten, endpoint, [anywhere(8080)])

    with serving(a), serving(switch), serving(remote):
        assert ask(a, "10.5.0.254") == "switch heard 10.5.0.2"
        assert ask(c, "10.6.0.254") == "switch heard 10.6.0.2"
        assert ask(switch, "10.5.0.2") == "a heard 10.5.0.254"
        assert ask(b, "10.5.0.2") == "a heard 10.5.0.3"
        assert ask(host, "10.5.0.2") == "a heard 10.5.0.1"
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"
        for who, seen in ((remote, "192.0.2.2"), (c, "10.5.0.1"), (b, "10.5.0.1"), (a, "10.5.0.1")):
            assert ask(who, "192.0.2.1", 8080) == f"a heard {seen}"
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.5.0.1"
        assert ask(c, "10.5.0.2", timeout_s=DROPPED_S) == "silence"
    _only_its_own_vlan_is_heard(switch, b)
    _what_is_forged_is_not_heard(host, a, endpoint.mac)


def _only_its_own_vlan_is_heard(switch: Box, b: Box) -> None:
    with b.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))) as heard:
        heard.settimeout(3)
        frame = Ether(src=SOMEBODY, dst=EVERYBODY)
        untagged, other, own = frame, frame / Dot1Q(vlan=20), frame / Dot1Q(vlan=10)
        for packet, mark in ((untagged, "none"), (other, "twenty"), (own, "ten")):
            packet.lastlayer().type = 0x88B5
            send(switch, "eth0", packet / mark.encode())
        assert heard.recv(100)[12:] == b"\x88\xb5ten"


def _what_is_forged_is_not_heard(host: Box, a: Box, mac: str) -> None:
    """An address of the host's loopback, and a MAC address that is not the endpoint's."""
    gateway = json.loads(host.run("ip", "-j", "link", "show", "br0.10").stdout)[0]["address"]
    with host.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("0.0.0.0", 7777))
        server.settimeout(3)
        packets = [
            Ether(src=source, dst=gateway) / IP(src="10.5.0.2", dst=destination) / UDP(sport=1, dport=7777) / payload
            for source, destination, payload in (
                (mac, "127.0.0.1", b"forged"),
                (SOMEBODY, "10.5.0.1", b"forged"),
                (mac, "10.5.0.1", b"honest"),
            )
        ]
        send(a, interface(a), *packets)
        assert server.recv(100) == b"honest"


def test_a_container_may_speak_in_further_vlans(stack: Stack, host: Box, switch: Box, box: Boxes) -> None:
    """CNI's vlanTrunk: it tags the frames itself. Who is on a network without them cannot."""
    trunk = {"netmodel.bridge.vlan_trunk": "10,20-25", "netmodel.bridge.mac_check": "true"}
    a, b = box("a"), box("b")
    endpoint = stack.attach(a_vlan(stack, "ten", 10, "10.5.0.0/24", **trunk), a, "10.5.0.2/24")
    stack.attach(a_vlan(stack, "eleven", 11, "10.7.0.0/24"), b, "10.7.0.2/24")
    for who in (a, b):
        ip(who, f"link add lan20 up link {interface(who)} type vlan id 20", "addr add 10.6.0.9/24 dev lan20")

    assert ping(a, "10.5.0.254") is not None
    assert ping(a, "10.6.0.254") is not None
    assert ping(b, "10.6.0.254", timeout_s=DROPPED_S) is None
    assert vlans(host)[veth_name(endpoint)] == [(10, False), *[(number, True) for number in range(20, 26)]]


def test_what_was_there_is_there_afterwards(stack: Stack, host: Box, switch: Box, box: Boxes) -> None:
    ip(host, "link add br0.20 up link br0 type vlan id 20", "addr add 10.6.0.77/24 dev br0.20")
    host.run("bridge", "vlan", "add", "dev", "br0", "vid", "20", "self")
    before, links = vlans(host), stack.links()

    networks = [a_vlan(stack, "ten", 10, "10.5.0.0/24"), a_vlan(stack, "twenty", 20, "10.6.0.0/24")]
    c = box("c")
    stack.attach(networks[1], c, "10.6.0.2/24")
    assert ping(c, "10.6.0.254") is not None
    assert ping(c, "10.6.0.77") is not None
    assert set(vlans(host)["br0"]) == {(1, False), (10, True), (20, True)}
    [port] = set(vlans(host)) - set(before) - {"br0.10", "br0.20"}
    assert vlans(host)[port] == [(20, False)]
    assert stack.bridge.segment(networks[0].options) == "br0.10"
    for network in networks:
        stack.bridge.create_network(network)  # any verb may be repeated
        assert read_sysctl("net/ipv4/conf/br0/route_localnet") == "1"  # the other one needs it still
        stack.bridge.delete_network(network)
    assert read_sysctl("net/ipv4/conf/br0/route_localnet") == "0"
    stack.reaper.drain()

    after = vlans(host)
    after.pop(port)  # of the container, which is still there
    assert after == before
    assert stack.links() == links | {port}
    assert "10.6.0.77/24" in host.run("ip", "addr", "show", "br0.20").stdout
    assert "10.6.0.1/24" not in host.run("ip", "addr", "show", "br0.20").stdout


def test_a_bridge_of_ours_is_that_vlan_alone(stack: Stack, host: Box, box: Boxes) -> None:
    """Whoever plugs a trunk into it later finds the containers in the VLAN."""
    network = stack.network("n", "10.5.0.0/24", **{"netmodel.bridge.vlan": "10"})
    a = box("a")
    stack.attach(network, a, "10.5.0.2/24")
    assert host_link(network) == bridge_name(network)
    assert {tuple(own) for own in vlans(host).values()} == {((10, False),)}
    assert ping(a, "10.5.0.1") is not None


def test_what_cannot_be_is_refused_in_plain_words(stack: Stack, host: Box, switch: Box) -> None:
    ip(host, "link add br1 type bridge", "link add br0.30 type veth peer name x")
    ten = a_vlan(stack, "ten", 10, "10.5.0.0/24")
    links, before = stack.links(), vlans(host)

    with pytest.raises(LinkTaken, match="link br1 exists already and is a bridge that does not look at VLANs") as one:
        a_vlan(stack, "n", 10, "10.6.0.0/24", name="br1")
    assert one.value.hint == "let it: ip link set br1 type bridge vlan_filtering 1"
    with pytest.raises(InvalidOption, match="on br0 the host itself is in VLAN 1, without a tag"):
        a_vlan(stack, "n", 1, "10.6.0.0/24")
    with pytest.raises(LinkTaken, match=r"link br0\.30 exists already and is not VLAN 30 of br0"):
        a_vlan(stack, "n", 30, "10.6.0.0/24")
    with pytest.raises(LinkTaken, match=r"link br0\.10 exists already and is of another network"):
        a_vlan(stack, "n", 10, "10.6.0.0/24")

    assert (stack.links(), vlans(host)) == (links, before)
    assert stack.firewall.bridges() == {host_link(ten)}
