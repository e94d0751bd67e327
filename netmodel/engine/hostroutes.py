"""Which prefixes the host can reach by its own routes: no network of ours may hide one.

Read from /proc and not over netlink: with a thousand bridges the text is parsed many times sooner
than the messages, and every network that is created asks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from ipaddress import IPv4Network, IPv6Network

from ipam.api import Taken

_RTF_REJECT = 0x0200
_LINK_LOCAL, _MULTICAST = IPv6Network("fe80::/10"), IPv6Network("ff00::/8")


class HostRoutes:
    """The main table of both families, in the namespace of the thread that made this object.

    A file of /proc/net stays with the namespace it was opened in, so any thread may ask.
    """

    def __init__(self) -> None:
        self._ipv4 = os.open("/proc/thread-self/net/route", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._ipv6: int | None = os.open("/proc/thread-self/net/ipv6_route", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # a kernel without IPv6
            self._ipv6 = None

    def taken(self, but: Collection[str] = ()) -> Iterator[Taken]:
        """Every prefix with a route of its own; default routes hide nothing.

        Args:
            but: Links whose routes do not count.
        """
        for line in _lines(self._ipv4)[1:]:
            words = line.split()
            destination, mask = _ipv4(words[1]), int.from_bytes(bytes.fromhex(words[7]), "little")
            if mask and not int(words[3], 16) & _RTF_REJECT and words[0] not in but:
                yield Taken(
                    prefix=IPv4Network((destination, mask.bit_count())), by=f"the host's route through {words[0]}"
                )
        if self._ipv6 is None:
            return
        for line in _lines(self._ipv6):
            words = line.split()
            prefix = IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)))
            if words[9] == "lo" or words[9] in but or prefix.prefixlen == 0:
                continue
            if not prefix.overlaps(_LINK_LOCAL) and not prefix.overlaps(_MULTICAST):
                yield Taken(prefix=prefix, by=f"the host's route through {words[9]}")

    def close(self) -> None:
        os.close(self._ipv4)
        if self._ipv6 is not None:
            os.close(self._ipv6)


def _ipv4(little_endian: str) -> bytes:
    return bytes.fromhex(little_endian)[::-1]


def _lines(descriptor: int) -> list[str]:
    """The whole file, from its beginning; the kernel writes it anew for each reader."""
    parts: list[bytes] = []
    offset = 0
    while part := os.pread(descriptor, 1 << 16, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts).decode().splitlines()
