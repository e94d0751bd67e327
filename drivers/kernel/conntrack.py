"""Connections that the kernel remembers, and forgetting those whose translation has gone."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Collection
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
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_FILTER = 1, 2, 25
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 2
_CTA_FILTER_F_SRC, _CTA_FILTER_F_PROTO_NUM = 1 << 0, 1 << 3
_AF_INET, _AF_INET6 = 2, 10
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

    def connections(self, replied_by: IPAddress | None = None, family: int = 4) -> list[Connection]:
        """What the kernel remembers, of one family; with replied_by only what that address answers to.

        The kernel filters, so that a table of a hundred thousand stays there.
        """
        if replied_by is None:
            return self._netlink.get(_dump(family), _read)
        if replied_by.version == 4:
            # A kernel that cannot filter says so (before 5.8): then we read them all, as below.
            with contextlib.suppress(KernelError):
                return self._netlink.get(_dump(4, replied_by), _read)

        # The kernel's filter for IPv6 addresses leaves out just those that match (seen on 6.18;
        # net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match_tuple() negates the comparison).
        def read_one(kind: int, payload: memoryview) -> Connection | None:
            found = _read(kind, payload) if replied_by.packed in bytes(payload) else None
            return found if found is not None and found.reply.source == replied_by else None

        return self._netlink.get(_dump(replied_by.version), read_one)

    def flush(self, replied_by: IPAddress, unwanted: Callable[[Connection], bool] = lambda _: True) -> int:
        """Forget connections that an address answers to, and say how many.

        Args:
            unwanted: Which of them.

        Raises:
            KernelError: The kernel refused to list or to forget.
        """
        return self._forget([one for one in self.connections(replied_by) if unwanted(one)])

    def flush_untranslated(self, protocol: int, ports: Collection[int], family: int = 4) -> int:
        """Forget what was sent to ports while nobody had published them.

        A datagram that came too early left an entry without translation, and while its sender goes
        on, that entry lives and all later datagrams follow it past the new rule.
        """
        found = self._netlink.get(_dump(family, protocol=protocol), _read)
        return self._forget([o for o in found if not o.translated and o.original.destination_port in ports])

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, connections: list[Connection]) -> int:
        self._netlink.apply([_delete(one) for one in connections])
        return len(connections)


def _dump(family: int, replied_by: IPAddress | None = None, protocol: int = 0) -> Request:
    body = _NFGENMSG.pack(_AF_INET if family == 4 else _AF_INET6, 0, 0)
    if replied_by is not None:
        source = wire.nested(_CTA_TUPLE_IP, wire.attribute(_CTA_IP_V4_SRC, replied_by.packed))
        body += wire.nested(_CTA_TUPLE_REPLY, source)
        body += wire.nested(_CTA_FILTER, wire.u32(_CTA_FILTER_REPLY_FLAGS, _CTA_FILTER_F_SRC))
    elif protocol:
        number = wire.nested(_CTA_TUPLE_PROTO, wire.u8(_CTA_PROTO_NUM, protocol))
        body += wire.nested(_CTA_TUPLE_ORIG, number)
        body += wire.nested(_CTA_FILTER, wire.u32(_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_F_PROTO_NUM))
    return Request(_CT_GET, "list tracked connections", wire.NLM_F_DUMP, body)


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
