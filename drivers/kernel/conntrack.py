"""Connections that the kernel remembers, and forgetting those whose translation has gone."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from drivers.kernel import wire
from drivers.kernel.errors import KernelError
from drivers.kernel.netlink import Netlink
from drivers.kernel.wire import Request

IPAddress = IPv4Address | IPv6Address

# Source: Linux include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
NETLINK_NETFILTER = 12
_CT_NEW, _CT_GET, _CT_DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_STATUS, _CTA_FILTER, _CTA_STATUS_MASK = 1, 2, 3, 25, 26
_IPS_DST_NAT = 1 << 5
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 2
_CTA_FILTER_F_IP_SRC, _CTA_FILTER_F_PROTO_NUM = 1 << 0, 1 << 3
_AF_INET, _AF_INET6 = 2, 10
_FAMILIES = {0: 0, 4: _AF_INET, 6: _AF_INET6}  # 0 is all
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection; ports are 0 for what has none."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int = 0
    destination_port: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    original: Tuple
    reply: Tuple
    raw: bytes  # CTA_TUPLE_ORIG as the kernel told it, to name the connection when it is deleted

    @property
    def translated(self) -> bool:
        """Its destination was rewritten on the way."""
        return self.original.destination != self.reply.source


class Conntrack:
    """The connection table of one namespace."""

    def __init__(self, netns: Path | None = None) -> None:
        self._netlink = Netlink(netns, NETLINK_NETFILTER)

    def connections(self, family: int = 4) -> list[Connection]:
        """All that the kernel remembers of one family.

        Each look goes through the kernel's whole table, 262,144 buckets or more: some 5 ms even if
        they are empty. The other methods are one look, too, but let the kernel pick.
        """
        return self._netlink.get(_dump(family), _read)

    def translated(self, target: IPAddress | None = None) -> list[Connection]:
        """Those whose destination is rewritten on the way: to this address, or of both families to any.

        To read one that the kernel gives us takes 20 µs, and a busy host has tens of thousands.
        """
        # Addresses of IPv6 the kernel compares the wrong way round, and gives us all but those that are asked for.
        # Source: Linux net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match_tuple().
        wanted = _translated_to(target) if isinstance(target, IPv4Address) else _TRANSLATED
        # A kernel that knows no such filters (of addresses before 5.8, of status before 5.15) gives us all of them.
        found = self._netlink.get(_dump(target.version if target else 0, wanted), _read)
        return [one for one in found if one.translated and target in (None, one.reply.source)]

    def forget_translated(self, target: IPv4Address) -> bool:
        """Forget at once all whose destination is rewritten to this address, by whosever rule; False if the kernel
        cannot (before 6.10).

        It passes over empty buckets without a lock then: 0.2 ms where a look takes 5.
        """
        # Older kernels take it for a single connection's address, and miss half of that.
        body = _NFGENMSG.pack(_AF_INET, 0, 0) + _translated_to(target)
        try:
            self._netlink.apply([Request(_CT_DELETE, f"forget all connections to {target}", 0, body)])
        except KernelError:
            return False
        return True

    def untranslated(self, protocol: int, family: int = 4) -> list[Connection]:
        """Those of one protocol that go where they were sent."""
        number = wire.nested(_CTA_TUPLE_PROTO, wire.u8(_CTA_PROTO_NUM, protocol))
        wanted = wire.nested(_CTA_TUPLE_ORIG, number)
        wanted += wire.nested(_CTA_FILTER, wire.u32(_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_F_PROTO_NUM))
        try:
            found = self._netlink.get(_dump(family, wanted), _read)
        except KernelError:  # a kernel that cannot filter (before 5.8)
            found = self.connections(family)
        return [one for one in found if one.original.protocol == protocol and not one.translated]

    def forget(self, connections: Sequence[Connection]) -> None:
        """Make the kernel forget them; their next packet is a new connection's. One that is gone is no error."""
        self._netlink.apply([_delete(one) for one in connections])

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TRANSLATED = wire.be32(_CTA_STATUS, _IPS_DST_NAT) + wire.be32(_CTA_STATUS_MASK, _IPS_DST_NAT)


def _translated_to(target: IPv4Address) -> bytes:
    answering = wire.nested(_CTA_TUPLE_IP, wire.attribute(_CTA_IP_V4_SRC, target.packed))
    compared = wire.u32(_CTA_FILTER_REPLY_FLAGS, _CTA_FILTER_F_IP_SRC)
    return _TRANSLATED + wire.nested(_CTA_TUPLE_REPLY, answering) + wire.nested(_CTA_FILTER, compared)


def _dump(family: int, wanted: bytes = b"") -> Request:
    header = _NFGENMSG.pack(_FAMILIES[family], 0, 0)
    return Request(_CT_GET, "list tracked connections", wire.NLM_F_DUMP, header + wanted)


def _delete(connection: Connection) -> Request:
    family = _AF_INET if connection.original.source.version == 4 else _AF_INET6
    body = _NFGENMSG.pack(family, 0, 0) + wire.attribute(_CTA_TUPLE_ORIG | wire.NLA_F_NESTED, connection.raw)
    return Request(_CT_DELETE, "forget a tracked connection", 0, body, (errno.ENOENT,))


def _read(kind: int, payload: memoryview) -> Connection | None:
    if kind != _CT_NEW:
        return None
    found = wire.attributes(payload, _NFGENMSG.size)
    raw = found[_CTA_TUPLE_ORIG]
    return Connection(_read_tuple(raw), _read_tuple(found[_CTA_TUPLE_REPLY]), raw)


def _read_tuple(data: bytes) -> Tuple:
    found = wire.attributes(data)
    addresses = wire.attributes(found[_CTA_TUPLE_IP])
    protocol = wire.attributes(found[_CTA_TUPLE_PROTO])
    return Tuple(
        wire.to_address(addresses.get(_CTA_IP_V4_SRC) or addresses[_CTA_IP_V6_SRC]),
        wire.to_address(addresses.get(_CTA_IP_V4_DST) or addresses[_CTA_IP_V6_DST]),
        protocol[_CTA_PROTO_NUM][0],
        int.from_bytes(protocol.get(_CTA_PROTO_SRC_PORT, b""), "big"),
        int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big"),
    )


PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
