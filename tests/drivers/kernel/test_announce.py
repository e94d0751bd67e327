"""Announcements as another program reads them (scapy), and what a neighbour makes of them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from drivers.kernel.address import add_address
from drivers.kernel.announce import announce, frame
from drivers.kernel.link import add_veth, set_mac, set_up
from drivers.kernel.netlink import Netlink
from tests.support.box import Box
from tests.support.wait import eventually

MAC = "02:42:0a:01:00:02"
BYTES = bytes.fromhex(MAC.replace(":", ""))


def test_an_arp_announcement() -> None:
    packet = Ether(frame(BYTES, IPv4Interface("10.1.0.2/24")))

    assert (packet.dst, packet.src) == ("ff:ff:ff:ff:ff:ff", MAC)
    assert packet[ARP].op == 1
    assert (packet[ARP].psrc, packet[ARP].pdst, packet[ARP].hwsrc) == ("10.1.0.2", "10.1.0.2", MAC)


def test_a_neighbour_advertisement() -> None:
    packet = Ether(frame(BYTES, IPv6Interface("fd00::2/64")))

    assert (packet.dst, packet[IPv6].dst, packet[IPv6].hlim) == ("33:33:00:00:00:01", "ff02::1", 255)
    advert = packet[ICMPv6ND_NA]
    assert (advert.tgt, advert.R, advert.S, advert.O) == ("fd00::2", 0, 0, 1)
    assert advert[ICMPv6NDOptDstLLAddr].lladdr == MAC
    told = advert.cksum
    del packet[ICMPv6ND_NA].cksum
    assert Ether(bytes(packet))[ICMPv6ND_NA].cksum == told


@pytest.mark.kernel
def test_neighbours_change_over_at_once(netlink: Netlink, box: Callable[[str], Box]) -> None:
    a = box("a")
    addresses = [ip_interface("10.1.0.2/24"), ip_interface("fd00::2/64")]
    netlink.apply([add_veth("nm1", "eth0", a.fd, "02:00:00:00:00:01", up=True)])
    here = netlink.index("nm1")
    netlink.apply([add_address(here, ip_interface("10.1.0.1/24")), add_address(here, ip_interface("fd00::1/64"))])
    with Netlink(a.path) as inside:
        there = inside.index("eth0")
        inside.apply([*[add_address(there, address) for address in addresses], set_up(there)])

        def known() -> dict[str, str]:
            told = {str(one.address): one.mac for one in netlink.neighbours()}
            return {str(address.ip): told.get(str(address.ip), "") for address in addresses}

        learn(a)
        eventually(lambda: set(known().values()) == {"02:00:00:00:00:01"})
        inside.apply([set_mac(there, MAC)])
        announce(a.path, "eth0", addresses)

        eventually(lambda: set(known().values()) == {MAC})


def learn(box: Box) -> None:
    """Let the other end learn both addresses, by asking it something."""
    import socket

    for family, target in ((socket.AF_INET, "10.1.0.1"), (socket.AF_INET6, "fd00::1")):
        with box.open(lambda f=family: socket.socket(f, socket.SOCK_DGRAM)) as asking:  # type: ignore[misc]
            asking.bind((str(ip_address("10.1.0.2" if family == socket.AF_INET else "fd00::2")), 0))
            asking.connect((target, 9))
            asking.send(b"x")
