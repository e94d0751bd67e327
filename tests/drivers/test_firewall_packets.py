"""What packets do, with and without br_netfilter: who reaches whom, and by what address they are seen."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from drivers.bridge_rules import bridge_name
from drivers.kernel.sysctl import read_sysctl
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, ping, route, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel, pytest.mark.usefixtures("bridge_nf")]
Boxes = Callable[[str], Box]


def test_endpoints_on_one_bridge_reach_each_other(stack: Stack, box: Boxes) -> None:
    """Frames are switched, not routed: the TTL arrives untouched."""
    network, a, b = stack.network("n", "10.1.0.0/24", "fd01::/64"), box("a"), box("b")
    stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    stack.attach(network, b, "10.1.0.3/24", "fd01::3/64")

    reply = ping(a, "10.1.0.3")

    assert reply is not None
    assert reply.ttl == 64
    with serving(b):
        assert ask(a, "10.1.0.3") == "b heard 10.1.0.2"
        assert ask(a, "fd01::3") == "b heard fd01::2"
        assert ask(a, "fd01::3", udp=True) == "b heard fd01::2"


def test_what_turns_around_at_the_gateway_keeps_its_address(stack: Stack, box: Boxes) -> None:
    network, a, b = stack.network("n", "10.1.0.0/24"), box("a"), box("b")
    stack.attach(network, a, "10.1.0.2/24")
    stack.attach(network, b, "10.1.0.3/24")
    route(a, "10.1.0.3/32", "10.1.0.1")

    with serving(b):
        assert ask(a, "10.1.0.3") == "b heard 10.1.0.2"


def test_networks_do_not_reach_each_other(stack: Stack, host: Box, box: Boxes) -> None:
    a, b = box("a"), box("b")
    stack.attach(stack.network("one", "10.1.0.0/24", "fd01::/64"), a, "10.1.0.2/24", "fd01::2/64")
    stack.attach(stack.network("two", "10.2.0.0/24", "fd02::/64"), b, "10.2.0.2/24", "fd02::2/64")

    with serving(b):
        assert ask(host, "10.2.0.2") == "b heard 10.2.0.1"
        assert ask(a, "10.2.0.2", timeout_s=DROPPED_S) == "silence"
        assert ask(a, "fd02::2", timeout_s=DROPPED_S) == "silence"


def test_the_outside_sees_the_hosts_address(stack: Stack, remote: Box, box: Boxes) -> None:
    a = box("a")
    stack.attach(stack.network("n", "10.1.0.0/24", "fd01::/64"), a, "10.1.0.2/24", "fd01::2/64")

    with serving(remote):
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"
        assert ask(a, "192.0.2.2", udp=True) == "remote heard 192.0.2.1"
        assert ask(a, "2001:db8:2::2") == "remote heard 2001:db8:2::1"


def test_without_masquerade_the_outside_sees_the_container(stack: Stack, remote: Box, box: Boxes) -> None:
    a = box("a")
    stack.attach(stack.network("n", "10.1.0.0/24", enable_ip_masquerade="false"), a, "10.1.0.2/24")
    route(remote, "10.1.0.0/24", "192.0.2.1")

    with serving(remote):
        assert ask(a, "192.0.2.2") == "remote heard 10.1.0.2"


def test_internal_reaches_its_own_gateway_and_nothing_else(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    stack.network("other", "10.9.0.0/24")  # or the host would not forward at all
    network, a, b = stack.network("n", "10.1.0.0/24", internal=True), box("a"), box("b")
    stack.attach(network, a, "10.1.0.2/24")
    stack.attach(network, b, "10.1.0.3/24")
    route(a, "0.0.0.0/0", "10.1.0.1")  # the sandbox gives it none; it may give itself one
    route(remote, "10.1.0.0/24", "192.0.2.1")

    with serving(b), serving(host), serving(remote):
        assert ask(a, "10.1.0.3") == "b heard 10.1.0.2"
        assert ask(a, "10.1.0.1") == "host heard 10.1.0.2"
        assert ask(host, "10.1.0.3") == "b heard 10.1.0.1"
        assert ask(a, "192.0.2.1", timeout_s=DROPPED_S) == "silence"
        assert ask(a, "192.0.2.2", timeout_s=DROPPED_S) == "silence"
        assert ask(remote, "10.1.0.3", timeout_s=DROPPED_S) == "silence"


def test_without_icc_containers_reach_the_outside_only(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    network, a, b = stack.network("n", "10.1.0.0/24", enable_icc="false"), box("a"), box("b")
    stack.attach(network, a, "10.1.0.2/24")
    stack.attach(network, b, "10.1.0.3/24")

    with serving(b), serving(remote):
        assert ask(host, "10.1.0.3") == "b heard 10.1.0.1"
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"
        assert ask(a, "10.1.0.3", timeout_s=DROPPED_S) in ("silence", "failed: No route to host")
        # Nor by way of the gateway, which would forward what the bridge does not switch.
        route(a, "10.1.0.3/32", "10.1.0.1")
        assert ask(a, "10.1.0.3", timeout_s=DROPPED_S) == "silence"


def test_a_remote_host_reaches_what_is_published_and_nothing_else(stack: Stack, remote: Box, box: Boxes) -> None:
    network, a = stack.network("n", "10.1.0.0/24", "fd01::/64"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    route(remote, "10.1.0.0/24", "192.0.2.1")
    route(remote, "fd01::/64", "2001:db8:2::1")
    stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8080, protocol="udp")])

    with serving(a), serving(a, 81):
        for address, sender in (("192.0.2.1", "192.0.2.2"), ("2001:db8:2::1", "2001:db8:2::2")):
            assert ask(remote, address, 8080) == f"a heard {sender}"
            assert ask(remote, address, 8080, udp=True) == f"a heard {sender}"
        assert ask(remote, "192.0.2.1", 8081) == "refused"
        for address in ("10.1.0.2", "fd01::2"):
            assert ask(remote, address, 80, timeout_s=DROPPED_S) == "silence"
            assert ask(remote, address, 81, timeout_s=DROPPED_S) == "silence"


@pytest.mark.usefixtures("remote")
def test_the_host_reaches_published_ports_at_each_of_its_addresses(stack: Stack, host: Box, box: Boxes) -> None:
    network, a = stack.network("n", "10.1.0.0/24", "fd01::/64"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8080, protocol="udp")])

    with serving(a):
        for udp in (False, True):
            assert ask(host, "127.0.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(host, "127.0.0.9", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(host, "10.1.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(host, "192.0.2.1", 8080, udp=udp) == "a heard 192.0.2.1"
            assert ask(host, "2001:db8:2::1", 8080, udp=udp) == "a heard 2001:db8:2::1"
            assert ask(host, "::1", 8080, udp=udp) == "a heard fd01::1"  # relayed


def test_a_port_published_on_the_loopback_is_the_hosts_alone(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    network, a, b = stack.network("n", "10.1.0.0/24"), box("a"), box("b")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.attach(stack.network("two", "10.2.0.0/24"), b, "10.2.0.2/24")
    stack.bridge.publish(network, endpoint, [loopback(8080)])
    route(remote, "127.0.0.0/8", "192.0.2.1")

    with serving(a):
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        assert ask(remote, "192.0.2.1", 8080) == "refused"
        assert ask(b, "10.2.0.1", 8080) == "refused"


@pytest.mark.parametrize(("source", "target"), [("10.1.0.2", "127.0.0.1"), ("127.0.0.5", "10.1.0.1")])
def test_addresses_of_the_loopback_cannot_be_forged(
    stack: Stack, host: Box, box: Boxes, source: str, target: str
) -> None:
    """The bridge routes them for the host's own sake; a container that sends such frames is not heard."""
    network, a = stack.network("n", "10.1.0.0/24"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    bridge = stack.netlink.link(bridge_name(network))
    assert bridge is not None
    with (
        host.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        a.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        server.bind(("0.0.0.0", 7777))
        server.settimeout(3)
        sender.bind((next(name for _, name in a.open(socket.if_nameindex) if name != "lo"), 0))
        for src, dst, payload in ((source, target, b"forged"), ("10.1.0.2", "10.1.0.1", b"honest")):
            frame = Ether(src=endpoint.mac, dst=bridge.mac) / IP(src=src, dst=dst) / UDP(sport=1, dport=7777) / payload
            sender.send(bytes(frame))

        assert server.recv(100) == b"honest"


def test_a_container_reaches_itself_and_its_neighbours_by_published_ports(
    stack: Stack, remote: Box, box: Boxes
) -> None:
    network, a, b, c = stack.network("n", "10.1.0.0/24", "fd01::/64"), box("a"), box("b"), box("c")
    endpoint = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    stack.attach(network, b, "10.1.0.3/24", "fd01::3/64")
    stack.attach(stack.network("two", "10.2.0.0/24", "fd02::/64"), c, "10.2.0.2/24", "fd02::2/64")
    stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(8080, protocol="udp")])

    with serving(a):
        for udp in (False, True):
            assert ask(a, "192.0.2.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(a, "10.1.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(b, "192.0.2.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(b, "2001:db8:2::1", 8080, udp=udp) == "a heard fd01::1"
            assert ask(c, "192.0.2.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(c, "10.2.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
            assert ask(c, "2001:db8:2::1", 8080, udp=udp) == "a heard fd01::1"


def test_a_port_may_be_published_at_one_address_of_the_host(stack: Stack, remote: Box, box: Boxes) -> None:
    network, a = stack.network("n", "10.1.0.0/24", "fd01::/64"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    ports = [loopback(8080, at="192.0.2.1", to=81), loopback(8081, at="2001:db8:2::1", to=81)]
    stack.bridge.publish(network, endpoint, ports)

    with serving(a, 81):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "2001:db8:2::1", 8081) == "a heard 2001:db8:2::2"
        assert ask(a, "10.1.0.1", 8080) == "refused"
        assert ask(remote, "192.0.2.1", 8081) == "refused"


def test_an_internal_network_publishes_to_the_host_only(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    stack.network("other", "10.9.0.0/24")  # or the host would not forward at all
    network, a = stack.network("n", "10.1.0.0/24", internal=True), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])

    with serving(a):
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        assert ask(remote, "192.0.2.1", 8080, timeout_s=DROPPED_S) == "silence"


def test_publishing_turns_forwarding_on_and_says_so(stack: Stack, host: Box) -> None:
    assert read_sysctl("net/ipv4/ip_forward") == "0"

    stack.network("inside", "10.1.0.0/24", internal=True)
    assert stack.bridge.forwarding_changed == ()
    stack.network("n", "10.2.0.0/24")

    assert stack.bridge.forwarding_changed == ("net.ipv4.ip_forward",)
    assert read_sysctl("net/ipv4/ip_forward") == "1"
    assert read_sysctl("net/ipv6/conf/all/forwarding") == "0"
