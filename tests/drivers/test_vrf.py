"""Networks in a VRF of the host, on the kernels that have VRFs: `make test-kernels` runs this."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from drivers.api import Pair
from drivers.bridge_rules import bridge_name
from drivers.errors import CannotPublish, DriverError, InvalidOption, LinkTaken
from drivers.kernel.netlink import Netlink
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, ping, route, serving, wire
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
Boxes = Callable[[str], Box]
VRF = {"netmodel.bridge.vrf": "blue"}
V4, V6 = ("10.1.0.0/24", "10.1.0.2/24"), ("fd01::/64", "fd01::2/64")


@pytest.fixture
def blue(host: Box) -> str:
    host.run("ip", "link", "add", "blue", "up", "type", "vrf", "table", "10")
    return "blue"


@pytest.fixture
def customer(host: Box, box: Boxes, blue: str) -> Box:
    """Who is behind the VRF's own link: at 192.0.3.2 and 2001:db8:3::2; it knows the way to containers."""
    made = box("customer")
    wire(host, made, 3)
    # Its IPv6 address goes with the move.
    lines = "link set wan3 master blue\naddress add 2001:db8:3::1/64 dev wan3 nodad\n"
    host.run("ip", "-batch", "-", text=lines)
    route(made, "10.0.0.0/8", "192.0.3.1")
    route(made, "fd00::/8", "2001:db8:3::1")
    return made


@pytest.mark.usefixtures("bridge_nf")
def test_a_network_in_a_vrf_has_its_ways_and_no_others(
    stack: Stack, host: Box, customer: Box, remote: Box, box: Boxes
) -> None:
    """The same container off the VRF shows that the remote host could be reached."""
    network = stack.network("n", V4[0], V6[0], **VRF)
    a, b, c = box("a"), box("b"), box("c")
    stack.attach(network, a, V4[1], V6[1])
    stack.attach(network, b, "10.1.0.3/24", "fd01::3/64")
    stack.attach(stack.network("m", "10.2.0.0/24"), c, "10.2.0.2/24")

    with serving(a), serving(customer), serving(remote):
        assert ask(a, "192.0.3.2") == "customer heard 192.0.3.1"
        assert ask(a, "2001:db8:3::2") == "customer heard 2001:db8:3::1"
        assert ask(b, "10.1.0.2") == "a heard 10.1.0.3"
        assert ping(a, "10.1.0.1") is not None
        assert ask(customer, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert ask(c, "192.0.2.2") == "remote heard 192.0.2.1"
        assert ask(a, "192.0.2.2", timeout_s=DROPPED_S) in ("silence", "failed: Network is unreachable")
        assert ask(c, "192.0.3.2", timeout_s=DROPPED_S) != "customer heard 192.0.3.1"


def test_networks_of_one_vrf_are_kept_apart_unless_they_are_routed_to(stack: Stack, customer: Box, box: Boxes) -> None:
    modes = {"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "routed"}
    hidden, routed = stack.network("n", V4[0], **VRF), stack.network("m", "10.2.0.0/24", **modes, **VRF)
    a, b = box("a"), box("b")
    stack.attach(hidden, a, V4[1])
    endpoint = stack.attach(routed, b, "10.2.0.2/24")
    assert [one.host_port for one in stack.bridge.publish(routed, endpoint, [anywhere(8080)])] == [0]
    [(_, exposure)] = stack.bridge.exposures(stack.bridge.look_around(), routed, endpoint, anywhere(0))
    assert exposure.state == "open"

    with serving(a), serving(b), serving(b, 81), serving(customer):
        assert ask(customer, "10.2.0.2") == "b heard 192.0.3.2"
        assert ask(b, "192.0.3.2") == "customer heard 10.2.0.2"
        assert ask(customer, "10.2.0.2", 81, timeout_s=DROPPED_S) == "silence"
        assert ask(b, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert ask(a, "10.2.0.2").startswith("b heard ")


def test_containers_that_are_kept_apart_reach_what_they_are_linked_to(stack: Stack, blue: str, box: Boxes) -> None:
    network = stack.network("n", V4[0], enable_icc="false", **VRF)
    a, b = box("a"), box("b")
    stack.attach(network, a, V4[1])
    stack.attach(network, b, "10.1.0.3/24")
    mac = stack.bridge.detour(network)
    for one, other in ((a, "10.1.0.3"), (b, "10.1.0.2")):
        with Netlink(one.path) as inside:
            link = next(link.name for link in inside.links() if link.name != "lo")
        one.run("ip", "neighbour", "replace", other, "lladdr", mac, "dev", link)
    pair = Pair(source=ip_address("10.1.0.2"), target=ip_address("10.1.0.3"), protocol="tcp", port=80)

    with serving(b), serving(b, 81):
        assert ask(a, "10.1.0.3", timeout_s=DROPPED_S) == "silence"
        stack.bridge.allow(network, [pair])
        assert ask(a, "10.1.0.3") == "b heard 10.1.0.2"
        assert ask(a, "10.1.0.3", 81, timeout_s=DROPPED_S) == "silence"


def test_what_cannot_be_is_refused_in_plain_words(stack: Stack, host: Box, blue: str, box: Boxes) -> None:
    lines = ("br0 type bridge", "br1 master blue type bridge", "red type veth peer name x")
    host.run("ip", "-batch", "-", text="".join(f"link add {line}\n" for line in lines))
    links = stack.links()

    def refused(match: str, kind: type[DriverError], **options: Any) -> DriverError:
        with pytest.raises(kind, match=match) as refusal:
            stack.network("n", V4[0], **{**VRF, **options})
        assert (stack.links(), stack.firewall.bridges()) == (links, frozenset())
        assert refusal.value.hint
        return refusal.value

    gone = refused("the host has no VRF green", DriverError, **{"netmodel.bridge.vrf": "green"})
    assert gone.hint == "make it first: ip link add green up type vrf table NUMBER"
    refused("link red exists already and is no VRF but a veth", LinkTaken, **{"netmodel.bridge.vrf": "red"})
    refused("an internal network is routed nowhere", InvalidOption, internal=True)
    refused("host_ipv4 exclude each other", InvalidOption, **{"com.docker.network.host_ipv4": "192.0.2.9"})
    refused("link br0 exists already and is not in the VRF blue", LinkTaken, name="br0")
    with pytest.raises(LinkTaken, match="link br1 exists already and is in the VRF blue"):
        stack.network("n", V4[0], name="br1")

    network = stack.network("n", V4[0], **VRF)
    endpoint = stack.attach(network, box("a"), V4[1])
    with pytest.raises(CannotPublish, match=r"the network is in the VRF blue, and the host is not"):
        stack.bridge.publish(network, endpoint, [anywhere(8080)])
    assert stack.firewall.published() == frozenset()


def test_it_goes_with_its_network_and_back_into_a_vrf_that_is_made_anew(
    stack: Stack, host: Box, blue: str, box: Boxes
) -> None:
    before = stack.links()
    network = stack.network("n", V4[0], V6[0], **VRF)
    a = box("a")
    endpoint = stack.attach(network, a, V4[1], V6[1])
    assert stack.bridge.advice(network) == []
    host.run("ip", "link", "delete", "blue")
    assert stack.bridge.advice(network) == ["network n leads nowhere: its VRF blue is gone"]
    host.run("ip", "link", "add", "blue", "type", "vrf", "table", "10")
    assert stack.bridge.advice(network) == ["network n leads nowhere: its VRF blue is down"]
    host.run("ip", "link", "set", "blue", "up")

    stack.bridge.create_network(network)

    shown = host.run("ip", "address", "show", "master", "blue").stdout
    assert bridge_name(network) in shown
    for address in ("10.1.0.1/24", "fd01::1/64", "fe80::"):
        assert address in shown
    assert ping(a, "10.1.0.1") is not None
    stack.bridge.leave(network, endpoint)
    stack.bridge.delete_network(network)
    stack.reaper.drain()
    assert stack.links() == before
