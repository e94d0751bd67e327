"""Neighbours: which link-layer address an address has. Seldom asked for, so pyroute2 reads the answer."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from drivers.kernel import wire
from drivers.kernel.wire import Request

IPAddress = IPv4Address | IPv6Address

# Source: Linux include/uapi/linux/neighbour.h.
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
_AF_INET, _AF_INET6 = 2, 10
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    link: int
    address: IPAddress
    mac: str = ""
    state: int = 0


def add_neighbour(ifindex: int, address: IPAddress, mac: str) -> Request:
    """Tell the kernel a neighbour for good; what it knew of that address is replaced."""
    body = _message(ifindex, address, NUD_PERMANENT) + wire.mac(NDA_LLADDR, mac)
    return Request(RTM_NEWNEIGH, f"add neighbour {address} on link {ifindex}", wire.CREATE_OR_REPLACE, body)


def delete_neighbour(ifindex: int, address: IPAddress) -> Request:
    """Forget a neighbour; one that is not known is no error."""
    return Request(
        RTM_DELNEIGH,
        f"forget neighbour {address} on link {ifindex}",
        0,
        _message(ifindex, address, 0),
        (errno.ENOENT, errno.ENODEV),
    )


def get_neighbours() -> Request:
    return Request(RTM_GETNEIGH, "list neighbours", wire.NLM_F_DUMP, _NDMSG.pack(0, 0, 0, 0, 0))


def read_neighbour(kind: int, payload: memoryview) -> Neighbour | None:
    from pyroute2.netlink.rtnl.ndmsg import ndmsg  # 170 ms, paid by who asks

    if kind != RTM_NEWNEIGH:
        return None
    message = ndmsg(wire.HEADER.pack(wire.HEADER.size + len(payload), kind, 0, 0, 0) + bytes(payload))
    message.decode()
    destination = message.get_attr("NDA_DST")
    if message["family"] not in (_AF_INET, _AF_INET6) or destination is None:
        return None
    return Neighbour(
        link=message["ifindex"],
        address=ip_address(destination),
        mac=message.get_attr("NDA_LLADDR") or "",
        state=message["state"],
    )


def _message(ifindex: int, address: IPAddress, state: int) -> bytes:
    family = _AF_INET if address.version == 4 else _AF_INET6
    return _NDMSG.pack(family, ifindex, state, 0, 0) + wire.attribute(NDA_DST, address.packed)
