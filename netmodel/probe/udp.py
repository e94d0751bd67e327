"""A UDP datagram: does it get to the port.

UDP need not answer. So a reply counts, and so does our datagram seen by the target's transport
layer where a socket is bound; where none is, we place a listener that sends it back.
"""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from netmodel.probe.filter import Test, holds
from netmodel.probe.packets import IP, UDP, IPv6, Raw
from netmodel.probe.probe import Answer, IPAddress


class Datagram:
    """A datagram; its token is the payload."""

    protocol: ClassVar[Literal["icmp", "tcp", "udp"]] = "udp"
    noun = "datagram"

    def __init__(self, port: int) -> None:
        self.port = port
        self._token = b"netmodel" + os.urandom(8)

    def question(self, source: IPAddress, target: IPAddress, flow: int) -> bytes:
        datagram = UDP(sport=flow, dport=self.port) / Raw(self._token)
        if target.version == 4:
            return bytes(IP(src=str(source), dst=str(target)) / datagram)[20:]
        return bytes(IPv6(src=str(source), dst=str(target)) / datagram)[40:]

    def answer(self, segment: bytes, family: int, flows: frozenset[int]) -> Answer | None:
        if len(segment) < 8:
            return None
        reply = UDP(segment)
        if reply.sport != self.port or reply.dport not in flows:
            return None
        ours = segment[8:].startswith(self._token)
        return Answer(kind="reply", words="our datagram, sent back" if ours else "a reply")

    def asked(self, segment: bytes, family: int) -> bool:
        return segment[8:].startswith(self._token)

    def tests_of_answers(self, family: int) -> tuple[Test, ...]:
        return (Test(0, 2, self.port),)

    def tests_of_questions(self, family: int) -> tuple[Test, ...]:
        # Not by port: a NAT on the way may have changed that.
        return holds(8, self._token)
