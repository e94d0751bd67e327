"""What a probe is: a question that can be put into packets, and recognised on both ends.

The kernel routes, resolves and translates what a probe sends, as it would for any program in the
sandbox: probes hand it the part above IP and never a hand-made frame.

Every attempt is a flow of its own (a new port or echo id). A retransmission of the same flow would
meet the verdict that connection tracking remembers for it, not the rules that hold now.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Literal, Protocol

from netmodel.probe.filter import Test

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from the target itself.

    Args:
        kind: "reply" to an echo request or a datagram, "open" (SYN-ACK) or "closed" (RST: something
            is there, but nothing listens, or a firewall says so).
        words: Without the sender: "echo reply", "RST".
    """

    kind: Literal["reply", "open", "closed"]
    words: str

    @property
    def reached(self) -> bool:
        return self.kind != "closed"


class Probe(Protocol):
    """One kind of question. Instances carry a random token that no other probe has."""

    protocol: ClassVar[Literal["icmp", "tcp", "udp"]]
    noun: str  # "echo request"; an s makes its plural
    port: int  # 0 for icmp

    def question(self, source: IPAddress, target: IPAddress, flow: int) -> bytes:
        """Everything above the IP header. flow is the source port, or the echo id."""

    def answer(self, segment: bytes, family: int, flows: frozenset[int]) -> Answer | None:
        """Read what arrived at the source; None is somebody else's."""

    def asked(self, segment: bytes, family: int) -> bool:
        """Recognise our own question where it arrives, even behind a NAT."""

    def tests_of_answers(self, family: int) -> tuple[Test, ...]:
        """What the kernel may drop before it wakes us at the source."""

    def tests_of_questions(self, family: int) -> tuple[Test, ...]:
        """The same at the target."""
