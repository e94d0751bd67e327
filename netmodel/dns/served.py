"""One sandbox that we serve: what it may know, its sockets, and the answers it was given before."""

from __future__ import annotations

import asyncio
import socket

import dns.rcode
import dns.rdatatype
from dns.message import Message

from netmodel.dns.answer import Answer, Unanswerable, bare_answer, local_answer, read_query
from netmodel.dns.upstream import Forwarder
from netmodel.dns.view import View
from netmodel.dns.zone import Zone

REMEMBERED_ANSWERS = 128
LONGEST_REMEMBERED_QUERY = 300


class Served:
    """The name service of one sandbox.

    Attributes:
        view, forwarder: May be replaced at any time, by any thread.
        tasks: Its queries and connections that are under way.
    """

    def __init__(self, zone: Zone, udp: socket.socket, tcp: socket.socket, view: View, forwarder: Forwarder) -> None:
        self.udp, self.tcp = udp, tcp
        self.view = view
        self.forwarder = forwarder
        self.tasks: set[asyncio.Task[None]] = set()
        self._zone = zone
        self._answers: dict[bytes, Answer] = {}
        self._answered: tuple[int, View] = (-1, view)

    def answer(self, packet: bytes, stream: bool) -> bytes | None:
        """Answer a query ourselves: b"" says nothing at all, None leaves it to the upstream servers."""
        now = (self._zone.generation, self.view)
        if now != self._answered:
            self._answers.clear()
            self._answered = now
        known = self._answers.get(packet[2:])
        if known is None:
            try:
                known = self._find(read_query(packet), now[1])
            except Unanswerable as error:
                return error.reply
            if known is None:
                return None
            self._remember(packet, known)
        return known.reply(packet[:2], stream)

    def _find(self, query: Message, view: View) -> Answer | None:
        answer = local_answer(self._zone, view, query)
        if answer is None and not (view.forward and (view.forward_single_labels or not _is_single_label(query))):
            # In there, what is not on its networks does not exist. Docker says SERVFAIL; but that, like
            # REFUSED, makes resolvers try again and wait (musl, src/network/res_msend.c: for seconds).
            return bare_answer(query, dns.rcode.NXDOMAIN)
        return answer

    def _remember(self, packet: bytes, answer: Answer) -> None:
        if len(packet) > LONGEST_REMEMBERED_QUERY:
            return
        if len(self._answers) >= REMEMBERED_ANSWERS:
            self._answers.clear()
        self._answers[packet[2:]] = answer

    def close(self, keep: tuple[socket.socket, ...] = ()) -> None:
        """Close the sockets, but for those that go on being used."""
        for owned in (self.udp, self.tcp):
            if owned not in keep:
                owned.close()


def _is_single_label(query: Message) -> bool:
    """Whether this asks for the address of a name without a dot; "com NS" is a fair question of anyone's."""
    question = query.question[0]
    return question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) and len(question.name.labels) == 2
