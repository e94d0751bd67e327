"""ICMP errors about our own packets, read from a socket's error queue and put into words."""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from netmodel.probe.probe import IPAddress, Probe
from netmodel.probe.sandbox import IP_RECVERR, IPV6_RECVERR

MSG_ERRQUEUE = 0x2000
_LOCAL, _ICMP, _ICMPV6 = 1, 2, 3  # SO_EE_ORIGIN_*, linux/errqueue.h

# RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1
_UNREACHABLE_V4 = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    5: "source route failed",
    9: "network administratively prohibited",
    10: "host administratively prohibited",
    13: "communication administratively prohibited",
}
# RFC 4443, section 3.1
_UNREACHABLE_V6 = {
    0: "no route to destination",
    1: "administratively prohibited",
    2: "beyond scope of source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed policy",
    6: "reject route to destination",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpError:
    """Args:
    sender: Who says so: a router on the way, the target, or the source's own kernel.
    final: Somebody refuses to carry or take the packet; False is a passing trouble.
    about: The transport header of the packet it is about, at least its first eight bytes.
    target: Where that packet was going.
    """

    words: str
    sender: IPAddress | None
    final: bool
    about: bytes
    target: IPAddress | None = None

    def flow(self, probe: Probe) -> int | None:
        """The source port or echo id of the packet it is about; None when too little of it came back."""
        at = 4 if probe.protocol == "icmp" else 0
        return int.from_bytes(self.about[at : at + 2], "big") if len(self.about) >= at + 2 else None

    def __str__(self) -> str:
        return f"{self.words} from {self.sender}" if self.sender else self.words


def read(sock: socket.socket) -> IcmpError | None:
    """Take one error off the socket's error queue; None when it is empty."""
    try:
        payload, ancillary, _flags, address = sock.recvmsg(1024, 512, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            target = ip_address(address[0].partition("%")[0]) if address else None
            return _parse(data, payload, target)
    return None


def _parse(data: bytes, payload: bytes, target: IPAddress | None) -> IcmpError:
    number, origin, kind, code = struct.unpack_from("=IBBB", data)
    offender = data[16:]
    if origin == _ICMP:
        words, final = _words_v4(kind, code)
        sender: IPAddress | None = ip_address(offender[4:8])
    elif origin == _ICMPV6:
        words, final = _words_v6(kind, code)
        sender = ip_address(offender[8:24])
    else:
        words, final, sender = os.strerror(number).lower(), number in (errno.EPERM, errno.EACCES), None
    return IcmpError(words=words, sender=sender, final=final, about=payload, target=target)


def _words_v4(kind: int, code: int) -> tuple[str, bool]:
    if kind == 3:
        return _UNREACHABLE_V4.get(code, f"unreachable (code {code})"), True
    if kind == 11:
        return "time to live exceeded in transit", False
    return f"ICMP type {kind} code {code}", False


def _words_v6(kind: int, code: int) -> tuple[str, bool]:
    if kind == 1:
        return _UNREACHABLE_V6.get(code, f"unreachable (code {code})"), True
    if kind == 3:
        return "hop limit exceeded in transit", False
    if kind == 2:
        return "packet too big", False
    return f"ICMPv6 type {kind} code {code}", False
