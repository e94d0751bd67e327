"""What stands between a network and the outside, in each gateway mode, as packets find it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from drivers.bridge_rules import bridge_name
from drivers.errors import CannotPublish, InvalidOption, LinkTaken
from drivers.kernel.conntrack import Conntrack
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, ping, route, serving, wire
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bridge_nf")]
Boxes = Callable[[str], Box]
HOST = "com.docker.network."
V4, V6 = ("10.1.0.0/24", "10.1.0.2/24"), ("fd01::/64", "fd01::2/64")


def reachable(remote: Box) -> None:
    """The remote host routes the containers' subnets to us, as on a network whose administrator wants it."""
    route(remote, "10.0.0.0/8", "192.0.2.1")
    route(remote, "fd00::/8", "2001:db8:2::1")


def test_nat_hides_container_addresses_even_at_published_ports(stack: Stack, remote: Box, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", V4[0], V6[0])
    endpoint = stack.attach(network, a, V4[1], V6[1])
    reachable(remote)
    stack.bridge.publish(network, endpoint, [anywhere(8080), loopback(8081)])

    with serving(a):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert ask(remote, "fd01::2", timeout_s=DROPPED_S) == "silence"
    assert ping(remote, "10.1.0.2", timeout_s=DROPPED_S) is None


def test_nat_unprotected_lets_everybody_reach_every_port(stack: Stack, remote: Box, box: Boxes) -> None:
    a, b = box("a"), box("b")
    modes = {"gateway_mode_ipv4": "nat-unprotected", "gateway_mode_ipv6": "nat-unprotected"}
    network = stack.network("n", V4[0], V6[0], **modes)
    endpoint = stack.attach(network, a, V4[1], V6[1])
    stack.attach(stack.network("two", "10.2.0.0/24"), b, "10.2.0.2/24")
    reachable(remote)
    stack.bridge.publish(network, endpoint, [anywhere(8080)])

    with serving(a), serving(a, 81), serving(remote):
        assert ask(remote, "10.1.0.2", 81) == "a heard 192.0.2.2"
        assert ask(remote, "fd01::2", 81, udp=True) == "a heard 2001:db8:2::2"
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"  # it is still translated on its way out
        assert ask(b, "10.1.0.2", 81) == "a heard 10.1.0.1"


def test_routed_opens_what_is_published_and_translates_nothing(stack: Stack, remote: Box, box: Boxes) -> None:
    a, b = box("a"), box("b")
    network = stack.network("n", V4[0], V6[0], gateway_mode_ipv4="routed", gateway_mode_ipv6="routed")
    endpoint = stack.attach(network, a, V4[1], V6[1])
    stack.attach(stack.network("two", "10.2.0.0/24", "fd02::/64"), b, "10.2.0.2/24", "fd02::2/64")
    reachable(remote)

    ports = stack.bridge.publish(network, endpoint, [anywhere(8080), anywhere(0, protocol="udp")])

    assert [port.host_port for port in ports] == [0, 0]
    with serving(a), serving(a, 81), serving(remote):
        assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"
        assert ask(remote, "10.1.0.2", udp=True) == "a heard 192.0.2.2"
        assert ask(remote, "fd01::2") == "a heard 2001:db8:2::2"
        assert ask(remote, "10.1.0.2", 81, timeout_s=DROPPED_S) == "silence"
        assert ask(remote, "fd01::2", 81, timeout_s=DROPPED_S) == "silence"
        assert ask(remote, "192.0.2.1", 8080) == "refused"  # no port of the host is taken
        assert ask(a, "192.0.2.2") == "remote heard 10.1.0.2"
        assert ask(b, "10.1.0.2") == "a heard 10.1.0.1"  # from a network that is translated
        assert ask(b, "10.1.0.2", 81, timeout_s=DROPPED_S) == "silence"
    assert ping(remote, "10.1.0.2") is not None

    stack.bridge.unpublish(network, endpoint, ports)
    with serving(a):
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
    assert stack.firewall.opened() == frozenset()


def test_a_routed_network_has_no_port_on_the_hosts_loopback(stack: Stack, box: Boxes) -> None:
    network = stack.network("n", V4[0], gateway_mode_ipv4="routed")
    endpoint = stack.attach(network, box("a"), V4[1])
    with pytest.raises(CannotPublish, match="the network is routed to, so no port of the host leads there"):
        stack.bridge.publish(network, endpoint, [loopback(8080)])
    assert stack.firewall.opened() == frozenset()


def test_one_family_may_be_routed_and_the_other_translated(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", V4[0], V6[0], gateway_mode_ipv6="routed")
    endpoint = stack.attach(network, a, V4[1], V6[1])
    reachable(remote)

    ports = stack.bridge.publish(network, endpoint, [anywhere(8080)])

    assert ports == (anywhere(8080),)
    with serving(a), serving(remote):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "fd01::2") == "a heard 2001:db8:2::2"
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert ask(a, "2001:db8:2::2") == "remote heard fd01::2"
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"
    # The host's IPv6 port is not taken: nothing of ours answers there.
    with host.open(lambda: socket.create_server(("::", 8080), family=socket.AF_INET6)):
        pass
    stack.bridge.unpublish(network, endpoint, ports)
    with host.open(lambda: socket.create_server(("0.0.0.0", 8080))):
        pass


def test_a_routed_network_that_is_not_the_way_out_is_open_all_the_same(stack: Stack, remote: Box, box: Boxes) -> None:
    """The container answers by another network, its default one."""
    a = box("a")
    way_out = stack.attach(stack.network("out", "10.9.0.0/24"), a, "10.9.0.2/24")
    network = stack.network("n", V4[0], gateway_mode_ipv4="routed")
    beside = stack.attach(network, a, V4[1])
    route(a, "0.0.0.0/0", "10.9.0.1")
    reachable(remote)
    stack.bridge.publish(stack.network("out", "10.9.0.0/24"), way_out, [anywhere(8080)])

    stack.bridge.open_ports(network, beside, [anywhere(8080)])

    with serving(a):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"
        stack.bridge.shut_ports(network, beside, [anywhere(8080)])
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"


def test_shutting_an_open_port_ends_the_conversations_through_it(stack: Stack, remote: Box, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", V4[0], gateway_mode_ipv4="routed")
    endpoint = stack.attach(network, a, V4[1])
    reachable(remote)
    ports = stack.bridge.publish(network, endpoint, [anywhere(0, protocol="udp")])
    with serving(a), remote.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(3)
        client.connect(("10.1.0.2", 80))
        client.send(b"x")
        assert client.recv(100) == b"a heard 192.0.2.2"

        stack.bridge.unpublish(network, endpoint, ports)
        stack.bridge.settle()

        with Conntrack() as table:
            assert [one for one in table.connections() if one.original.destination_port == 80] == []
        client.settimeout(DROPPED_S)
        client.send(b"x")
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_published_ports_are_reached_directly_from_behind_a_trusted_link(
    stack: Stack, host: Box, remote: Box, box: Boxes
) -> None:
    """As through a WireGuard tunnel between hosts that route each other's containers."""
    a, friend = box("a"), box("friend")
    wire(host, friend, 3)
    network = stack.network("n", V4[0], trusted_host_interfaces="wan3")
    endpoint = stack.attach(network, a, V4[1])
    route(remote, "10.1.0.0/24", "192.0.2.1")
    route(friend, "10.1.0.0/24", "192.0.3.1")
    ports = stack.bridge.publish(network, endpoint, [anywhere(8080), loopback(8082, to=82)])

    with serving(a), serving(a, 81), serving(a, 82):
        assert ask(friend, "10.1.0.2") == "a heard 192.0.3.2"
        assert ask(friend, "10.1.0.2", 81, timeout_s=DROPPED_S) == "silence"
        assert ask(friend, "10.1.0.2", 82, timeout_s=DROPPED_S) == "silence"  # the host's alone
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        stack.bridge.unpublish(network, endpoint, ports)
        assert ask(friend, "10.1.0.2", timeout_s=DROPPED_S) == "silence"


def test_isolated_keeps_the_host_away_too(stack: Stack, host: Box, box: Boxes) -> None:
    a, b = box("a"), box("b")
    modes = {"gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated"}
    network = stack.network("n", V4[0], V6[0], internal=True, **modes)
    stack.attach(network, a, V4[1], V6[1])
    stack.attach(network, b, "10.1.0.3/24", "fd01::3/64")

    index = stack.netlink.index(bridge_name(network))
    assert [one for one in stack.netlink.addresses() if one.link == index] == []
    with serving(b):
        assert ask(a, "10.1.0.3") == "b heard 10.1.0.2"
        assert ask(a, "fd01::3") == "b heard fd01::2"
        assert ask(host, "10.1.0.3", timeout_s=DROPPED_S) == "failed: Network is unreachable"


def test_the_outside_sees_an_address_that_was_chosen(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    host.run("ip", "addr", "add", "192.0.2.9/24", "dev", "wan2")
    # Deprecated: nothing but our rule chooses it.
    host.run("ip", "addr", "add", "2001:db8:2::9/64", "dev", "wan2", "preferred_lft", "0", "nodad")
    a, b = box("a"), box("b")
    chosen = {HOST + "host_ipv4": "192.0.2.9", HOST + "host_ipv6": "2001:db8:2::9"}
    stack.attach(stack.network("n", V4[0], V6[0], **chosen), a, V4[1], V6[1])
    stack.attach(stack.network("m", "10.2.0.0/24"), b, "10.2.0.2/24")

    with serving(remote):
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.9"
        assert ask(a, "2001:db8:2::2") == "remote heard 2001:db8:2::9"
        assert ask(b, "192.0.2.2") == "remote heard 192.0.2.1"


def test_an_ipv6_only_network_reaches_out_and_is_published(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", V6[0])
    endpoint = stack.attach(network, a, V6[1])
    stack.bridge.publish(network, endpoint, [anywhere(8080)])

    with serving(a), serving(remote):
        assert ask(a, "2001:db8:2::2") == "remote heard 2001:db8:2::1"
        assert ask(remote, "2001:db8:2::1", 8080) == "a heard 2001:db8:2::2"
        assert ask(host, "2001:db8:2::1", 8080) == "a heard 2001:db8:2::1"
        assert ask(remote, "192.0.2.1", 8080) == "a heard fd01::1"  # relayed


def test_a_networks_host_binding_may_be_an_ipv6_address(stack: Stack, remote: Box, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", V4[0], V6[0], host_binding_ipv4="2001:db8:2::1")
    endpoint = stack.attach(network, a, V4[1], V6[1])

    ports = stack.bridge.publish(network, endpoint, [anywhere(8080)])

    assert ports == (loopback(8080, at="2001:db8:2::1"),)
    with serving(a):
        assert ask(remote, "2001:db8:2::1", 8080) == "a heard 2001:db8:2::2"
        assert ask(remote, "192.0.2.1", 8080) == "refused"


@pytest.mark.parametrize(
    ("internal", "option", "value", "message"),
    [
        (False, "gateway_mode_ipv4", "isolated", "only an internal network can be isolated"),
        (True, "gateway_mode_ipv6", "routed", "nothing outside reaches an internal network, so it cannot be routed"),
        (True, "gateway_mode_ipv4", "nat-unprotected", "cannot be nat-unprotected"),
        (False, "netmodel.bridge.publish_to_host", "true", "this network publishes to everybody"),
    ],
)
def test_modes_that_contradict_the_network(stack: Stack, internal: bool, option: str, value: str, message: str) -> None:
    before = stack.links()
    with pytest.raises(InvalidOption, match=message) as refusal:
        stack.network("n", V4[0], internal=internal, **{option: value})
    assert refusal.value.hint
    assert stack.links() == before


def test_a_bridge_that_is_adopted_keeps_its_own_settings(stack: Stack, host: Box) -> None:
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    with pytest.raises(LinkTaken, match="link lan0 exists already and is set up by somebody else"):
        stack.network("n", V4[0], name="lan0", **{"netmodel.bridge.stp": "true"})
