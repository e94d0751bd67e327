"""Telling the neighbours where an address is: gratuitous ARP and unsolicited neighbour advertisements."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from drivers.kernel.checksum import checksum
from drivers.kernel.namespace import open_in

IPInterface = IPv4Interface | IPv6Interface

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_BROADCAST = b"\xff" * 6
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")


def announce(netns: Path | None, link: str, addresses: Sequence[IPInterface]) -> None:
    """Send one announcement for each address out of a link that is up.

    Neighbours that knew the address elsewhere (a container that was here before) change over at
    once instead of after their cache's time.

    Raises:
        OSError: The link is missing or down.
    """
    if not addresses:
        return
    sender = open_in(netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with sender:
        sender.bind((link, 0))
        for address in addresses:
            sender.send(frame(sender.getsockname()[4], address))


def frame(mac: bytes, address: IPInterface) -> bytes:
    """The Ethernet frame that announces an address."""
    if isinstance(address, IPv4Interface):
        # RFC 5227, section 3: an announcement is a request whose sender and target are the same.
        arp = _ARP.pack(1, 0x0800, 6, 4, 1, mac, address.ip.packed, bytes(6), address.ip.packed)
        return _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP) + arp
    # RFC 4861, section 7.2.6: unsolicited, with the override flag.
    advert = struct.pack("!BBHI16sBB6s", 136, 0, 0, 0x20000000, address.ip.packed, 2, 1, mac)
    pseudo = address.ip.packed + _ALL_NODES + struct.pack("!I3xB", len(advert), socket.IPPROTO_ICMPV6)
    advert = advert[:2] + struct.pack("!H", checksum(pseudo + advert)) + advert[4:]
    header = struct.pack("!IHBB", 0x60000000, len(advert), socket.IPPROTO_ICMPV6, 255)
    packet = header + address.ip.packed + _ALL_NODES + advert
    return _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_P_IPV6) + packet
