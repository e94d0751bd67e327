"""By which address of ours, and by which link, somebody has called: ip(7), ipv6(7)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

IPAddress = IPv4Address | IPv6Address
Ancillary = tuple[int, int, bytes]

# Source: Linux include/uapi/linux/in.h, in6.h. Python has no names for these.
_IP_PKTINFO, _IP_PKTOPTIONS, _IPV6_2292PKTOPTIONS = 8, 9, 6
_V4 = struct.Struct("@i4s4s")  # in_pktinfo: link, local address, address in the header
_V6 = struct.Struct("@16si")  # in6_pktinfo
_HEADER = struct.Struct("@Nii")  # cmsghdr
ROOM = socket.CMSG_SPACE(_V6.size) + socket.CMSG_SPACE(_V4.size)


def ask_for(opened: socket.socket) -> None:
    """Have the kernel note it with each datagram, or with each connection that is accepted."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def of_datagram(ancillary: Iterable[Ancillary]) -> tuple[IPAddress, int] | None:
    """What came beside a datagram: the address it was sent to, and the link's index; None if it was not noted."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, link = _V6.unpack_from(data)
            return plain(IPv6Address(address)), link
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            link, _, address = _V4.unpack_from(data)
            return IPv4Address(address), link
    return None


def of_connection(accepted: socket.socket) -> tuple[IPAddress, int]:
    """The address that was called, and the index of the link by which the first packet came; 0 if it was not noted.

    Source: Linux net/ipv6/tcp_ipv6.c, tcp_v6_syn_recv_sock(): mcast_oif; ipv6_sockglue.c, IPV6_2292PKTOPTIONS.
    """
    called = plain(ip_address(accepted.getsockname()[0].partition("%")[0]))
    if accepted.family == socket.AF_INET6:
        noted = accepted.getsockopt(socket.IPPROTO_IPV6, _IPV6_2292PKTOPTIONS, ROOM)
    else:
        noted = accepted.getsockopt(socket.IPPROTO_IP, _IP_PKTOPTIONS, ROOM)
    found = of_datagram([_first(noted)] if len(noted) >= _HEADER.size else [])
    return called, found[1] if found else 0


def sent_from(opened: socket.socket, address: IPAddress) -> list[Ancillary]:
    """What to send beside a datagram so that it leaves from an address of ours."""
    if opened.family == socket.AF_INET6:
        text = str(address) if address.version == 6 else f"::ffff:{address}"
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _V6.pack(IPv6Address(text).packed, 0))]
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _V4.pack(0, address.packed, bytes(4)))]


def plain(address: IPAddress) -> IPAddress:
    """An address in its own family: a socket for both shows 192.0.2.1 as ::ffff:192.0.2.1."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _first(noted: bytes) -> Ancillary:
    length, level, kind = _HEADER.unpack_from(noted)
    return level, kind, noted[_HEADER.size : length]
