"""ICMP and ICMPv6 echo: does the target's stack answer at all."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from netmodel.probe.filter import Test, holds
from netmodel.probe.packets import ICMP, ICMPv6EchoRequest, Raw
from netmodel.probe.probe import Answer, IPAddress

REQUEST = {4: 8, 6: 128}
REPLY = {4: 0, 6: 129}


class Echo:
    """An echo request; its token travels in the payload, which every hop and the target must keep (RFC 792)."""

    protocol: ClassVar[Literal["icmp", "tcp", "udp"]] = "icmp"
    noun = "echo request"
    port = 0

    def __init__(self) -> None:
        self._token = b"netmodel" + os.urandom(8)

    def question(self, source: IPAddress, target: IPAddress, flow: int) -> bytes:
        if target.version == 4:
            return bytes(ICMP(type=8, id=flow, seq=1) / Raw(self._token))
        # The kernel fills in the checksum of whatever an ICMPv6 socket sends (RFC 3542, section 3.1).
        return bytes(ICMPv6EchoRequest(id=flow, seq=1, data=self._token, cksum=0))

    def answer(self, segment: bytes, family: int, flows: frozenset[int]) -> Answer | None:
        if len(segment) < 8 or segment[0] != REPLY[family]:
            return None
        # Read by hand: a matrix has thousands of these, and scapy's dissection takes 0.1 ms.
        flow = int.from_bytes(segment[4:6], "big")
        if flow not in flows or not segment[8:].startswith(self._token):
            return None
        return Answer(kind="reply", words="echo reply")

    def asked(self, segment: bytes, family: int) -> bool:
        return segment[:1] == bytes([REQUEST[family]]) and segment[8:].startswith(self._token)

    def tests_of_answers(self, family: int) -> tuple[Test, ...]:
        return (Test(0, 1, REPLY[family]), *holds(8, self._token))

    def tests_of_questions(self, family: int) -> tuple[Test, ...]:
        return (Test(0, 1, REQUEST[family]), *holds(8, self._token))
