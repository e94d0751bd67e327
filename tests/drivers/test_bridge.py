"""The bridge driver: what it makes, repeats, undoes and leaves alone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from drivers.api import Carries, Network, Publishes
from drivers.bridge_port import veth_name
from drivers.bridge_rules import bridge_name
from drivers.errors import LinkTaken, NetworkFull
from drivers.kernel.address import add_address
from drivers.kernel.announce import frame
from drivers.kernel.bridge import add_bridge
from drivers.kernel.errors import KernelError
from drivers.kernel.link import add_veth, set_alias, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from tests.drivers.wires import ROOT, Stack, an_endpoint, an_id, anywhere, ask, configure, serving
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]


def test_a_network_is_a_bridge_with_its_gateways(stack: Stack) -> None:
    network = stack.network("n", "10.1.0.0/24", "fd01::/64")

    link = stack.netlink.link(bridge_name(network))
    assert link is not None
    assert (link.kind, link.up, link.alias) == ("bridge", True, f"netmodel:{ROOT}:bridge:{network.id}")
    addresses = {str(one.interface) for one in stack.netlink.addresses() if one.link == link.index}
    assert addresses >= {"10.1.0.1/24", "fd01::1/64"}
    assert read_sysctl(f"net/ipv6/conf/{link.name}/accept_ra") == "0"
    assert stack.firewall.bridges() == {link.name}
    assert isinstance(stack.bridge, Publishes)


def test_a_network_without_ipv6_gives_the_bridge_no_ipv6_address(stack: Stack) -> None:
    network = stack.network("n", "10.1.0.0/24")

    index = stack.netlink.index(bridge_name(network))
    assert [str(one.interface) for one in stack.netlink.addresses() if one.link == index] == ["10.1.0.1/24"]


def test_the_first_packet_arrives(stack: Stack, host: Box, box: Boxes) -> None:
    """A link that has just come up is not yet a port that forwards; without waiting, one in twelve is lost."""
    network = stack.network("n", "10.1.0.0/24")
    assert isinstance(stack.bridge, Carries)
    with host.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))) as heard:
        heard.bind((bridge_name(network), 0x0806))
        heard.settimeout(2)
        for number in range(2, 42):
            a = box(f"a{number}")
            endpoint = an_endpoint(network, a, f"10.1.0.{number}/24")
            announcement = frame(bytes.fromhex(endpoint.mac.replace(":", "")), endpoint.addresses[0])
            with a.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sender:
                configure(a, endpoint, stack.bridge.join(network, endpoint, a.path))
                stack.bridge.wait_until_carried(network, endpoint)
                sender.bind(("eth2", 0))
                sender.send(announcement)
            assert heard.recv(100) == announcement


def test_every_verb_may_be_repeated(stack: Stack, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", "10.1.0.0/24")
    stack.bridge.create_network(network)
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    port = anywhere(8080)

    first = stack.bridge.publish(network, endpoint, [port])
    assert stack.bridge.publish(network, endpoint, [port]) == first
    stack.bridge.create_network(network)
    with serving(a):
        assert ask(a, "10.1.0.1", 8080) == "a heard 10.1.0.1"
    for _ in range(2):
        stack.bridge.unpublish(network, endpoint, first)
        stack.bridge.leave(network, endpoint)
        stack.bridge.delete_endpoint(network, endpoint)
        stack.bridge.delete_network(network)

    stack.reaper.drain()
    assert stack.links() == {"lo"}
    assert stack.firewall.published() == frozenset()
    assert stack.firewall.bridges() == frozenset()


def test_a_container_that_starts_again_gets_its_link_again(stack: Stack, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24")
    first = stack.attach(network, box("a"), "10.1.0.2/24")
    stack.bridge.leave(network, first)

    again = box("again")
    stack.bridge.join(network, first, again.path)

    link = stack.netlink.link(veth_name(first))
    assert link is not None
    assert link.up
    with Netlink(again.path) as inside:
        peer = inside.link(veth_name(first))
        assert peer is not None
        assert peer.mac == first.mac


def test_a_join_that_was_interrupted_is_repeated(stack: Stack, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", "10.1.0.0/24")
    endpoint = stack.attach(network, a, "10.1.0.2/24")

    stack.bridge.join(network, endpoint, a.path)

    with Netlink(a.path) as inside:
        assert {link.name for link in inside.links()} == {"lo", veth_name(endpoint)}


def test_a_failed_join_leaves_no_link_behind(stack: Stack, box: Boxes) -> None:
    a = box("a")
    network = stack.network("n", "10.1.0.0/24")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.bridge.leave(network, endpoint)
    stack.reaper.drain()
    before = stack.links()

    with pytest.raises(KernelError, match="open the network namespace /missing"):
        stack.bridge.join(network, endpoint, Path("/missing"))
    with pytest.raises(KernelError):
        stack.bridge.join(network, replace(endpoint, mac="01:00:00:00:00:01"), a.path)  # a group address is nobody's
    with pytest.raises(KernelError):
        stack.bridge.join(network, endpoint, Path("/dev/null"))

    stack.reaper.drain()
    assert stack.links() == before
    with Netlink(a.path) as inside:
        assert {link.name for link in inside.links()} == {"lo"}


def test_a_network_that_cannot_be_made_leaves_nothing_behind(stack: Stack) -> None:
    stack.firewall.uninstall()

    with pytest.raises(KernelError, match="to the firewall: No such file"):
        stack.network("n", "10.1.0.0/24")

    stack.reaper.drain()
    assert stack.links() == {"lo"}
    assert read_sysctl("net/ipv4/ip_forward") == "0"


def test_a_named_bridge_that_exists_is_used_and_kept(stack: Stack, box: Boxes) -> None:
    stack.netlink.apply([add_bridge("lan0")])
    index = stack.netlink.index("lan0")
    theirs = ip_interface("10.1.0.77/24")
    stack.netlink.apply([add_address(index, theirs), set_up(index)])

    network = stack.network("n", "10.1.0.0/24", name="lan0")
    a = box("a")
    stack.attach(network, a, "10.1.0.2/24")
    with serving(a):
        assert ask(a, "10.1.0.2") == "a heard 10.1.0.2"
    addresses = {str(one.interface) for one in stack.netlink.addresses() if one.link == index}
    assert addresses >= {"10.1.0.1/24", "10.1.0.77/24"}
    assert read_sysctl("net/ipv4/conf/lan0/route_localnet") == "1"
    stack.bridge.delete_network(network)

    assert read_sysctl("net/ipv4/conf/lan0/route_localnet") == "0"

    link = stack.netlink.link("lan0")
    assert link is not None
    assert link.index == index
    assert [one.interface for one in stack.netlink.addresses() if one.link == index and one.interface.version == 4] == [
        theirs
    ]


def test_a_refused_network_takes_nothing_from_the_link_that_is_in_its_way(stack: Stack) -> None:
    """As the engine undoes it: another engine's gateway keeps its address, a bridge its administrator's setting."""
    stack.network("n", "10.1.0.0/24", name="lan0")
    index = stack.netlink.index("lan0")
    stack.netlink.apply([set_alias("lan0", f"netmodel:01234567:bridge:{an_id('n')}"), add_bridge("lan1")])
    write_sysctl("net/ipv4/conf/lan1/route_localnet", "1")
    for name, options in (("lan0", {}), ("lan1", {"netmodel.bridge.stp": "true"})):
        with pytest.raises(LinkTaken):
            stack.network("m", "10.2.0.0/24", name=name, **options)

        parsed = stack.bridge.parse({"com.docker.network.bridge.name": name, **options})
        stack.bridge.delete_network(Network(id=an_id("m"), name="m", options=parsed))

    assert "10.1.0.1/24" in {str(one.interface) for one in stack.netlink.addresses() if one.link == index}
    for name in ("lan0", "lan1"):
        assert read_sysctl(f"net/ipv4/conf/{name}/route_localnet") == "1"


def test_links_in_the_way_are_named_and_left_alone(stack: Stack, box: Boxes) -> None:
    first = stack.network("n", "10.1.0.0/24", name="lan0")
    stack.netlink.apply([add_bridge(f"br-{an_id('m')[:12]}"), add_veth("wan0", "wan1", box("a").fd)])
    before = stack.links()

    with pytest.raises(LinkTaken, match="link lan0 exists already and is the bridge of another network"):
        stack.network("second", "10.2.0.0/24", name="lan0")
    with pytest.raises(LinkTaken, match="link wan0 exists already and is no bridge but a veth"):
        stack.network("third", "10.2.0.0/24", name="wan0")
    with pytest.raises(LinkTaken, match=f"link br-{an_id('m')[:12]} exists already and is not ours"):
        stack.network("m", "10.2.0.0/24")

    assert stack.links() == before
    assert stack.firewall.bridges() == {bridge_name(first)}


def test_a_deleted_networks_name_may_be_given_again_at_once(stack: Stack) -> None:
    for number in range(5):
        stack.bridge.delete_network(stack.network(f"n{number}", "10.1.0.0/24", name="lan0"))

    stack.reaper.drain()
    assert stack.links() == {"lo"}


def test_the_mtu_holds_from_end_to_end(stack: Stack, box: Boxes) -> None:
    options = stack.bridge.parse({"com.docker.network.driver.mtu": "1400"})
    network = replace(stack.network("n", "10.1.0.0/24"), options=options)
    stack.bridge.create_network(network)
    a = box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")

    assert {link.mtu for link in stack.netlink.links() if link.name != "lo"} == {1400}
    with Netlink(a.path) as inside:
        assert {link.mtu for link in inside.links() if link.name != "lo"} == {1400}
    assert stack.bridge.join(network, endpoint, a.path).mtu == 1400


def test_an_internal_network_offers_no_gateway(stack: Stack, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24", internal=True)
    endpoint = stack.attach(network, box("a"), "10.1.0.2/24")

    assert stack.bridge.join(network, endpoint, box("b").path).gateways == ()


def test_inhibit_ipv4_leaves_the_gateway_to_another(stack: Stack, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24", inhibit_ipv4="true")
    endpoint = stack.attach(network, box("a"), "10.1.0.2/24")

    assert not [one for one in stack.netlink.addresses() if one.interface.ip in ip_network("10.1.0.0/24")]
    assert [str(g) for g in stack.bridge.join(network, endpoint, box("b").path).gateways] == ["10.1.0.1"]


def test_the_kernels_limit_of_ports_is_named(stack: Stack, box: Boxes) -> None:
    """The others are made by hand, all in one namespace."""
    network = stack.network("n", "10.1.0.0/16")
    bridge, crowd = stack.netlink.index(bridge_name(network)), box("crowd")
    stack.netlink.apply([add_veth(f"x{number}", f"x{number}", crowd.fd, master=bridge) for number in range(1023)])

    with pytest.raises(NetworkFull, match="network n is full: the kernel allows 1,023 ports") as refusal:
        stack.attach(network, box("a"), "10.1.0.2/16")

    assert refusal.value.kind == "unavailable"
    assert isinstance(refusal.value.__cause__, KernelError)
    assert refusal.value.__cause__.errno == errno.EXFULL
    assert not [name for name in stack.links() if name.startswith("nm") and not name.startswith("nmx")]


def test_links_tells_what_is_ours_and_not_what_is_retired(stack: Stack, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24")
    endpoint = stack.attach(network, box("a"), "10.1.0.2/24")
    gone = stack.attach(network, box("b"), "10.1.0.3/24")
    stack.netlink.apply([add_bridge("other")])
    stack.bridge.leave(network, gone)

    found = {(link.name, kind, object_id) for link, kind, object_id in stack.bridge.links()}

    assert found == {
        (bridge_name(network), "bridge", network.id),
        (veth_name(endpoint), "endpoint", endpoint.id),
    }


def test_the_end_of_a_sandbox_takes_its_link(stack: Stack) -> None:
    network: Network[object] = stack.network("n", "10.1.0.0/24")
    a = Box("short-lived")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    a.close()

    eventually(lambda: stack.netlink.link(veth_name(endpoint)) is None)
    stack.bridge.leave(network, endpoint)
