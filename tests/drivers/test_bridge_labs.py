"""What bridges of labs are asked for: MTU, spanning trees, frames a bridge keeps to itself, checksums."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from drivers.bridge_port import veth_name
from drivers.bridge_rules import bridge_name
from drivers.errors import MissingBridgeFeature
from drivers.kernel.bridge import is_forwarding
from drivers.kernel.link import get_link
from drivers.kernel.netlink import Netlink
from drivers.kernel.offload import tx_checksum
from tests.drivers.wires import DROPPED_S, Stack, ping, route
from tests.support.box import Box

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]
LLDP = bytes.fromhex("0180c200000e") + bytes.fromhex("024200000001") + b"\x88\xcc" + b"\0" * 46


def mtus(stack: Stack, box: Box) -> set[int]:
    """Of every link between the box and the host."""
    with Netlink(box.path) as inside:
        links = [*stack.netlink.links(), *inside.links()]
    return {link.mtu for link in links if link.name not in ("lo", "wan2")}


@pytest.mark.parametrize(("wan", "expected"), [(1420, 1420), (9000, 9000)])
def test_the_mtu_is_that_of_the_way_out(
    stack: Stack, host: Box, remote: Box, box: Boxes, wan: int, expected: int
) -> None:
    host.run("ip", "link", "set", "wan2", "mtu", str(wan))
    route(host, "0.0.0.0/0", "192.0.2.2")
    a = box("a")

    network = stack.network("n", "10.1.0.0/24")
    stack.attach(network, a, "10.1.0.2/24")

    assert mtus(stack, a) == {expected}
    assert stack.bridge.advice(network) == []


def test_a_route_may_say_less_than_its_link(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    host.run("ip", "-6", "route", "add", "default", "via", "2001:db8:2::2", "mtu", "1340")
    a = box("a")
    stack.attach(stack.network("n", "fd01::/64"), a, "fd01::2/64")
    assert mtus(stack, a) == {1340}


def test_an_mtu_larger_than_the_way_out_is_warned_of(stack: Stack, host: Box, remote: Box) -> None:
    host.run("ip", "link", "set", "wan2", "mtu", "1420")
    route(host, "0.0.0.0/0", "192.0.2.2")

    wide = stack.network("wide", "10.1.0.0/24", **{"com.docker.network.driver.mtu": "1500"})
    narrow = stack.network("narrow", "10.2.0.0/24", **{"com.docker.network.driver.mtu": "1280"})
    inside = stack.network("inside", "10.3.0.0/24", internal=True, **{"com.docker.network.driver.mtu": "9000"})

    [advice] = stack.bridge.advice(wide)
    assert advice.startswith("network wide has an MTU of 1500, the way out of this host one of 1420")
    assert stack.bridge.advice(narrow) == []
    assert stack.bridge.advice(inside) == []


def test_frames_that_a_bridge_keeps_to_itself_may_be_forwarded(stack: Stack, box: Boxes) -> None:
    """LLDP: what neighbouring switches and routers tell each other."""
    for name, subnet, mask in (("deaf", 1, "0"), ("open", 2, "0x4000")):
        a, b = box(f"a-{name}"), box(f"b-{name}")
        network = stack.network(name, f"10.{subnet}.0.0/24", **{"netmodel.bridge.group_fwd_mask": mask})
        stack.attach(network, a, f"10.{subnet}.0.2/24")
        stack.attach(network, b, f"10.{subnet}.0.3/24")
        with listening(b) as heard, a.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sender:
            sender.bind((interface(a), 0))
            sender.send(LLDP)
            heard.settimeout(DROPPED_S if name == "deaf" else 3)
            if name == "open":
                assert heard.recv(100) == LLDP
                continue
            with pytest.raises(TimeoutError):
                heard.recv(100)


def listening(box: Box) -> socket.socket:
    return box.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88CC)))


def interface(box: Box) -> str:
    return next(name for _, name in box.open(socket.if_nameindex) if name != "lo")


def test_spanning_tree_opens_a_loop(stack: Stack, host: Box, box: Boxes) -> None:
    """Two bridges with two cables between them: without it, the first broadcast would go round for ever."""
    options = {"netmodel.bridge.stp": "true"}
    one = stack.network("one", "10.1.0.0/24", **options)
    two = stack.network("two", "10.2.0.0/24", **options)
    for number in range(2):
        host.run("ip", "link", "add", f"x{number}", "type", "veth", "peer", "name", f"y{number}")
        for end, network in ((f"x{number}", one), (f"y{number}", two)):
            host.run("ip", "link", "set", end, "master", bridge_name(network), "up")
    a = box("a")

    endpoint = stack.attach(one, a, "10.1.0.2/24")

    assert stack.netlink.get(get_link(veth_name(endpoint)), is_forwarding) == [True]
    assert ping(a, "10.1.0.1") is not None
    states = [stack.netlink.get(get_link(end), is_forwarding) for end in ("x0", "x1", "y0", "y1")]
    assert states.count([False]) == 1


def test_without_spanning_tree_a_port_forwards_at_once(stack: Stack, host: Box, box: Boxes) -> None:
    endpoint = stack.attach(stack.network("n", "10.1.0.0/24"), box("a"), "10.1.0.2/24")
    assert stack.netlink.get(get_link(veth_name(endpoint)), is_forwarding) == [True]


def test_endpoints_may_compute_their_checksums(stack: Stack, box: Boxes) -> None:
    """Who reads datagrams off the link, or forwards them by hand, wants them right."""
    for name, subnet, option in (("lazy", 1, {}), ("exact", 2, {"netmodel.bridge.tx_checksum": "false"})):
        a = box(name)
        endpoint = stack.attach(stack.network(name, f"10.{subnet}.0.0/24", **option), a, f"10.{subnet}.0.2/24")
        lazy = name == "lazy"
        assert tx_checksum(interface(a), a.path) is lazy
        assert tx_checksum(veth_name(endpoint)) is lazy


def test_the_default_is_what_the_kernel_has(stack: Stack, host: Box) -> None:
    network = stack.network("n", "10.1.0.0/24")
    [link] = json.loads(host.run("ip", "-d", "-j", "link", "show", bridge_name(network)).stdout)
    settings = link["linkinfo"]["info_data"]
    assert (link["mtu"], settings["stp_state"], settings["forward_delay"]) == (1500, 0, 0)
    assert int(str(settings.get("group_fwd_mask", 0)), 0) == 0


def test_a_kernel_without_vlans_on_bridges_says_so(stack: Stack, host: Box) -> None:
    """What a network can be had with is what ip(8) can make; tests/drivers/test_bridge_vlan.py uses it."""
    able = host.run("ip", "link", "add", "tried", "type", "bridge", "vlan_filtering", "1", check=False).returncode == 0
    links = stack.links()
    if able:
        stack.network("n", "10.1.0.0/24", **{"netmodel.bridge.vlan": "10"})
        return
    with pytest.raises(MissingBridgeFeature, match="the bridges of this kernel know no VLANs") as refusal:
        stack.network("n", "10.1.0.0/24", **{"netmodel.bridge.vlan": "10"})
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in refusal.value.hint
    assert refusal.value.kind == "missing_feature"
    assert (stack.links(), stack.firewall.bridges()) == (links, frozenset())
