"""Requests against the kernel: batches, refusals in its own words, and namespaces."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from drivers.kernel.address import add_address, delete_address
from drivers.kernel.bridge import add_bridge
from drivers.kernel.errors import KernelError
from drivers.kernel.link import add_veth, delete_link, rename, route_localnet, set_alias, set_down, set_master, set_up
from drivers.kernel.namespace import open_in
from drivers.kernel.neighbour import add_neighbour, delete_neighbour
from drivers.kernel.netlink import Netlink
from drivers.kernel.route import add_blackhole, add_route, delete_route
from drivers.kernel.sysctl import read_sysctl
from tests.support.box import Box

pytestmark = pytest.mark.kernel


def test_the_first_refusal_is_told_and_later_requests_still_run(netlink: Netlink) -> None:
    requests = [add_address(999, ip_interface("10.0.0.1/24")), delete_link(998), add_bridge("br0"), add_bridge("br0")]

    with pytest.raises(KernelError, match=r"^add 10\.0\.0\.1/24 to link 999: ipv4: Device not found$") as refusal:
        netlink.apply(requests)

    assert refusal.value.errno == errno.ENODEV
    assert refusal.value.kind == "not_found"
    assert netlink.link("br0") is not None


def test_what_is_gone_or_there_already_is_no_error(netlink: Netlink) -> None:
    netlink.apply([add_bridge("br0")])
    index = netlink.index("br0")
    address, gone = ip_interface("10.0.0.1/24"), ip_network("10.7.0.0/16")

    for _ in range(2):
        netlink.apply([add_address(index, address), set_up(index), add_blackhole(gone)])
    for _ in range(2):
        netlink.apply([delete_route(gone), delete_address(index, address), delete_link("br0")])

    assert netlink.link("br0") is None
    with pytest.raises(KernelError, match="find link br0"):
        netlink.index("br0")


def test_a_thousand_requests_at_once(netlink: Netlink) -> None:
    netlink.apply([add_bridge("br0")])
    index = netlink.index("br0")
    addresses = [ip_interface((0x0A000000 + number, 8)) for number in range(1, 1001)]

    netlink.apply([set_up(index), *[add_address(index, address) for address in addresses]])

    assert {one.interface for one in netlink.addresses() if one.link == index} >= set(addresses)


def test_a_veth_pair_is_born_with_its_peer_where_it_belongs(netlink: Netlink, box: Callable[[str], Box]) -> None:
    a = box("a")
    mac = "02:42:0a:01:00:02"
    netlink.apply([add_bridge("br0")])
    bridge = netlink.index("br0")

    netlink.apply([add_veth("nm1", "nm1", a.fd, mac, 1400, master=bridge, group=9, up=True), set_alias("nm1", "ours")])

    link = netlink.link("nm1")
    assert link is not None
    assert (link.kind, link.alias, link.master, link.group, link.mtu, link.up) == (
        "veth",
        "ours",
        bridge,
        9,
        1400,
        True,
    )
    with Netlink(a.path) as inside:
        peer = inside.link("nm1")
        assert peer is not None
        assert (peer.mac, peer.mtu, peer.index, peer.peer) == (mac, 1400, link.peer, link.index)


def test_a_socket_stays_in_its_namespace_whoever_uses_it(netlink: Netlink, box: Callable[[str], Box]) -> None:
    with Netlink(box("a").path) as inside:
        made = threading.Thread(target=inside.apply, args=([add_bridge("br0")],))
        made.start()
        made.join()
        assert inside.link("br0") is not None
    assert netlink.link("br0") is None


def test_several_threads_share_a_socket(netlink: Netlink) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        netlink.apply([add_bridge(name)])
        for _ in range(50):
            link = netlink.link(name)
            if link is None or link.name != name:
                failures.append(AssertionError(f"{name}: {link}"))
            netlink.apply([set_up(name), set_down(name)])

    threads = [threading.Thread(target=work, args=(f"br{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_routes_and_neighbours_are_told_as_they_were_given(netlink: Netlink) -> None:
    netlink.apply([add_bridge("br0")])
    index = netlink.index("br0")
    mac = "02:42:0a:01:00:02"
    netlink.apply(
        [
            set_up(index),
            add_address(index, ip_interface("10.1.0.1/24")),
            add_route(ip_network("10.9.0.0/16"), via=ip_address("10.1.0.7")),
            add_route(ip_network("0.0.0.0/0"), via=ip_address("172.31.0.1"), ifindex=index, onlink=True, metric=5),
            add_neighbour(index, ip_address("10.1.0.9"), mac),
        ]
    )

    told = {(str(route.destination), str(route.via), route.link, route.metric) for route in netlink.routes()}
    assert told >= {
        ("10.9.0.0/16", "10.1.0.7", index, 0),
        ("0.0.0.0/0", "172.31.0.1", index, 5),
        ("10.1.0.0/24", "None", index, 0),
    }
    assert [(one.address, one.mac) for one in netlink.neighbours() if one.mac == mac] == [(ip_address("10.1.0.9"), mac)]
    netlink.apply([delete_neighbour(index, ip_address("10.1.0.9"))] * 2)
    assert not [one for one in netlink.neighbours() if one.mac == mac]


def test_settings_of_a_link(netlink: Netlink) -> None:
    netlink.apply([add_bridge("br0")])
    index = netlink.index("br0")

    netlink.apply([route_localnet(index), rename(index, "br1")])

    assert read_sysctl("net/ipv4/conf/br1/route_localnet") == "1"
    assert read_sysctl("net/ipv4/conf/br0/route_localnet") is None
    with pytest.raises(KernelError, match="add link br1 to bridge 77"):
        netlink.apply([set_master("br1", 77)])


def test_a_namespace_that_is_gone_is_named(host: Box) -> None:
    with pytest.raises(KernelError, match="open the network namespace /proc/1/fd/99999") as refusal:
        Netlink(Path("/proc/1/fd/99999"))
    assert refusal.value.kind == "not_found"
    with pytest.raises(KernelError, match="enter the network namespace"):
        open_in(Path("/dev/null"), lambda: None)


def test_open_in_leaves_the_calling_thread_where_it_is(host: Box, box: Callable[[str], Box]) -> None:
    a = box("a")
    here = Path("/proc/thread-self/ns/net").readlink()

    there = open_in(a.path, lambda: Path("/proc/thread-self/ns/net").readlink())

    assert there != here
    assert Path("/proc/thread-self/ns/net").readlink() == here
    with open_in(a.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        opened.bind(("127.0.0.1", 5000))  # free there, and here as well
        assert open_in(None, lambda: "called") == "called"
