"""A TCP SYN: does something accept connections on the port.

A SYN-ACK is an open port; a RST is a host that was reached, but its port is closed. No connection
is ever completed: the source's kernel knows nothing of our SYN and answers the SYN-ACK with a RST
of its own. That is what we want, for it closes the half-open peer at once; the program behind the
port never hears of us. A bound, silent socket keeps the source port from being anyone else's.
"""

from __future__ import annotations

import os
import struct
from typing import ClassVar, Literal

from netmodel.probe.filter import Test, holds
from netmodel.probe.packets import IP, TCP, IPv6
from netmodel.probe.probe import Answer, IPAddress

_SYN, _RST, _ACK = 0x02, 0x04, 0x10


class Syn:
    """A SYN; its token is the sequence number, which the peer must acknowledge."""

    protocol: ClassVar[Literal["icmp", "tcp", "udp"]] = "tcp"
    noun = "SYN"

    def __init__(self, port: int) -> None:
        self.port = port
        self._sequence = int.from_bytes(os.urandom(4), "big")

    def question(self, source: IPAddress, target: IPAddress, flow: int) -> bytes:
        segment = TCP(sport=flow, dport=self.port, flags="S", seq=self._sequence, window=64240, options=[("MSS", 1220)])
        # The IP header is there for the checksum alone (RFC 9293, section 3.1); the kernel writes the real one.
        if target.version == 4:
            return bytes(IP(src=str(source), dst=str(target)) / segment)[20:]
        return bytes(IPv6(src=str(source), dst=str(target)) / segment)[40:]

    def answer(self, segment: bytes, family: int, flows: frozenset[int]) -> Answer | None:
        if len(segment) < 20:
            return None
        reply = TCP(segment)
        if reply.sport != self.port or reply.dport not in flows or reply.ack != (self._sequence + 1) % 2**32:
            return None
        flags = int(reply.flags)
        if flags & _RST:
            return Answer(kind="closed", words="RST")
        return Answer(kind="open", words="SYN-ACK") if flags & _SYN and flags & _ACK else None

    def asked(self, segment: bytes, family: int) -> bool:
        return len(segment) >= 20 and int.from_bytes(segment[4:8], "big") == self._sequence

    def tests_of_answers(self, family: int) -> tuple[Test, ...]:
        acknowledged = (self._sequence + 1) % 2**32
        return (Test(13, 1, _SYN | _RST, any_bit=True), *holds(8, acknowledged.to_bytes(4, "big")))

    def tests_of_questions(self, family: int) -> tuple[Test, ...]:
        # Not by port: where the target publishes it under another, a NAT has changed it on the way.
        return (Test(13, 1, _SYN, any_bit=True), *holds(4, self._sequence.to_bytes(4, "big")))


def redirected(segment: bytes, before: IPAddress, after: IPAddress) -> bytes:
    """The same segment for another target: only the checksum changes, and that by a few additions (RFC 1624)."""
    total = ~int.from_bytes(segment[16:18], "big") & 0xFFFF
    total += sum(~word & 0xFFFF for word in _words(before)) + sum(_words(after))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return segment[:16] + (~total & 0xFFFF).to_bytes(2, "big") + segment[18:]


def _words(address: IPAddress) -> tuple[int, ...]:
    packed = address.packed
    return struct.unpack(f"!{len(packed) // 2}H", packed)
