"""Our bytes against pyroute2's classes: what we pack reads there as what we meant."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from drivers.kernel import wire
from drivers.kernel.address import add_address, link_local
from drivers.kernel.bridge import add_bridge, set_port
from drivers.kernel.link import add_veth, change, delete_group, read_link, rename
from drivers.kernel.neighbour import add_neighbour
from drivers.kernel.route import add_route
from drivers.kernel.wire import Request

MAC = "02:42:0a:01:00:02"


def read_as(kind: Any, request: Request) -> Any:
    header = wire.HEADER.pack(wire.HEADER.size + len(request.body), request.type, request.flags, 1, 0)
    message = kind(header + request.body)
    message.decode()
    return message


def test_a_veth_pair_names_its_peers_namespace_and_address() -> None:
    message = read_as(ifinfmsg, add_veth("nm1", "peer", 7, MAC, 1400, master=3, group=9, up=True))

    assert (message["flags"], message["change"]) == (1, 1)
    assert message.get_attr("IFLA_IFNAME") == "nm1"
    assert message.get_attr("IFLA_MASTER") == 3
    assert message.get_attr("IFLA_GROUP") == 9
    assert message.get_attr("IFLA_MTU") == 1400
    assert message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    peer = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "peer"
    assert peer.get_attr("IFLA_ADDRESS") == MAC
    assert peer.get_attr("IFLA_NET_NS_FD") == 7
    assert peer.get_attr("IFLA_MTU") == 1400


def test_a_bridge_forwards_at_once() -> None:
    message = read_as(ifinfmsg, add_bridge("br0", MAC, 9000))

    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
    assert data.get_attr("IFLA_BR_FORWARD_DELAY") == 0
    assert data.get_attr("IFLA_BR_STP_STATE") == 0
    assert message.get_attr("IFLA_ADDRESS") == MAC
    assert message.get_attr("IFLA_MTU") == 9000


def test_port_settings() -> None:
    info = read_as(ifinfmsg, set_port(5, isolated=True, hairpin=False)).get_attr("IFLA_LINKINFO")

    assert info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    assert info.get_attr("IFLA_INFO_SLAVE_DATA").get_attr("IFLA_BRPORT_ISOLATED") == 1
    assert info.get_attr("IFLA_INFO_SLAVE_DATA").get_attr("IFLA_BRPORT_MODE") == 0


def test_links_are_told_by_index_or_by_name() -> None:
    assert read_as(ifinfmsg, rename(5, "eth0"))["index"] == 5
    assert read_as(ifinfmsg, rename(5, "eth0")).get_attr("IFLA_IFNAME") == "eth0"
    assert read_as(ifinfmsg, change("eth0", "x")).get_attr("IFLA_IFNAME") == "eth0"
    assert read_as(ifinfmsg, delete_group(77)).get_attr("IFLA_GROUP") == 77


@pytest.mark.parametrize("address", ["10.1.0.2/24", "10.1.0.2/31", "fd00::2/64"])
def test_an_address(address: str) -> None:
    interface = ip_interface(address)
    message = read_as(ifaddrmsg, add_address(5, interface, origin=3))

    assert (message["index"], message["prefixlen"]) == (5, interface.network.prefixlen)
    assert message.get_attr("IFA_LOCAL") == str(interface.ip)
    assert message.get_attr("IFA_PROTO") == 3
    assert message.get_attr("IFA_FLAGS") == (2 if interface.version == 6 else 0)
    assert message.get_attr("IFA_BROADCAST") == ("10.1.0.255" if address.endswith("/24") else None)


def test_a_route() -> None:
    request = add_route(ip_network("10.9.0.0/16"), via=ip_address("10.1.0.1"), ifindex=4, metric=7, onlink=True)
    message = read_as(rtmsg, request)

    assert (message["dst_len"], message["scope"], message["flags"]) == (16, 0, 4)
    assert message.get_attr("RTA_DST") == "10.9.0.0"
    assert message.get_attr("RTA_GATEWAY") == "10.1.0.1"
    assert message.get_attr("RTA_OIF") == 4
    assert message.get_attr("RTA_PRIORITY") == 7


def test_a_neighbour() -> None:
    message = read_as(ndmsg, add_neighbour(4, ip_address("fd00::9"), MAC))

    assert message["ifindex"] == 4
    assert message.get_attr("NDA_DST") == "fd00::9"
    assert message.get_attr("NDA_LLADDR") == MAC


def test_a_message_of_pyroute2_can_be_sent_as_it_is() -> None:
    message = ifinfmsg()
    message["index"] = 5
    message["attrs"] = [("IFLA_IFNAME", "eth0")]
    message["header"]["type"] = 16

    assert Request.of(message, "rename link 5").body == rename(5, "eth0").body


def test_a_link_is_read_as_pyroute2_reads_it() -> None:
    body = add_veth("nm1", "p", None, mtu=1400, master=3, group=9).body

    link = read_link(16, memoryview(body))

    assert link is not None
    assert (link.name, link.kind, link.mtu, link.master, link.group) == ("nm1", "veth", 1400, 3, 9)


def test_cut_off_attributes_are_not_read_past_the_end() -> None:
    whole = wire.text(1, "abc") + wire.u32(2, 5)

    assert wire.attributes(whole[:-6]) == {1: b"abc\0"}
    assert wire.attributes(b"\0\0\0\0") == {}


def test_the_link_local_address_of_a_mac() -> None:
    assert str(link_local(MAC)) == "fe80::42:aff:fe01:2/64"
