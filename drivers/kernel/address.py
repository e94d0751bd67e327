"""Addresses of links."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from drivers.kernel import wire
from drivers.kernel.wire import Request

IPInterface = IPv4Interface | IPv6Interface

# Source: Linux include/uapi/linux/rtnetlink.h and if_addr.h.
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 1, 2, 4, 6, 8, 11
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
_AF_INET, _AF_INET6 = 2, 10
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_CACHEINFO = struct.Struct("=IIII")  # preferred and valid for so many seconds; when it was made and changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address and the index of the link that has it."""

    link: int
    interface: IPInterface
    flags: int = 0
    origin: int = 0


def add_address(
    ifindex: int,
    address: IPInterface,
    *,
    nodad: bool = True,
    prefix_route: bool = True,
    origin: int = 0,
    valid_s: int | None = None,
) -> Request:
    """Give a link an address; one it already has is left alone.

    Like: ip addr replace ADDRESS dev LINK

    EACCES on IPv6 means it is disabled on this link, not that we lack rights.

    Args:
        nodad: IPv6: use it at once, for whoever gave it out has made sure that it is unique.
        origin: Who gave it, a number that addresses() tells again; 0 is nobody.
        valid_s: After so many seconds the kernel takes it away, unless it is told another time; None is never.
    """
    # Source: Linux net/ipv6/addrconf.c, addrconf_add_dev().
    flags = (IFA_F_NODAD if nodad and address.version == 6 else 0) | (0 if prefix_route else IFA_F_NOPREFIXROUTE)
    body = _message(ifindex, address) + wire.u32(IFA_FLAGS, flags)
    if origin:
        body += wire.u8(IFA_PROTO, origin)
    if valid_s is not None:
        body += wire.attribute(IFA_CACHEINFO, _CACHEINFO.pack(valid_s, valid_s, 0, 0))
    if address.version == 4 and address.network.prefixlen < 31:
        body += wire.attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
    return Request(RTM_NEWADDR, f"add {address} to link {ifindex}", wire.CREATE_OR_REPLACE, body)


def delete_address(ifindex: int, address: IPInterface) -> Request:
    """Take an address from a link; one it does not have is no error."""
    return Request(
        RTM_DELADDR,
        f"remove {address} from link {ifindex}",
        0,
        _message(ifindex, address),
        (errno.EADDRNOTAVAIL, errno.ENODEV),
    )


def link_local(mac: str) -> IPv6Interface:
    """The link-local address that belongs to a MAC address (RFC 4291, appendix A).

    Given with add_address() to a link that makes none itself, it is usable at once. The kernel's own
    one is being checked for a second, during which it asks for no neighbour of a packet it forwards.
    """
    # Source: Linux net/ipv6/ndisc.c, ndisc_send_ns(): without a source there is no solicitation.
    octets = bytes.fromhex(mac.replace(":", ""))
    suffix = bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Interface((b"\xfe\x80" + bytes(6) + suffix, 64))


def get_addresses() -> Request:
    return Request(RTM_GETADDR, "list addresses", wire.NLM_F_DUMP, _IFADDRMSG.pack(0, 0, 0, 0, 0))


def read_address(kind: int, payload: memoryview) -> Address | None:
    family, prefix, _flags, _scope, index = _IFADDRMSG.unpack_from(payload)
    if kind != RTM_NEWADDR or family not in (_AF_INET, _AF_INET6):
        return None
    found = wire.attributes(payload, _IFADDRMSG.size)
    # IFA_ADDRESS is the other end on a point-to-point link; IFA_LOCAL is ours, but IPv6 has it seldom.
    own = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    return Address(
        link=index,
        interface=ip_interface((own, prefix)),
        flags=wire.to_u32(found.get(IFA_FLAGS)),
        origin=found.get(IFA_PROTO, b"\0")[0],
    )


def _message(ifindex: int, address: IPInterface) -> bytes:
    family = _AF_INET if address.version == 4 else _AF_INET6
    packed = address.ip.packed
    return (
        _IFADDRMSG.pack(family, address.network.prefixlen, 0, 0, ifindex)
        + wire.attribute(IFA_LOCAL, packed)
        + wire.attribute(IFA_ADDRESS, packed)
    )
