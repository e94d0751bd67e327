"""A small name server that a test owns: the world outside, in a box."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.support.box import Box

NEVER = "never.example."  # asked for this, no answer comes


class NameServer:
    """Answers over UDP and TCP at port 53 of an address in a box.

    Args:
        records: IPv4 addresses by absolute name; other names do not exist.
        rcode: Answer everything with it instead.
        silent: Answer nothing.
        limit: Answers with more records than this are cut over UDP.

    Attributes:
        seen: The names asked for, in their order.
    """

    def __init__(
        self,
        box: Box,
        address: str,
        records: Mapping[str, Sequence[str]] | None = None,
        rcode: dns.rcode.Rcode | None = None,
        silent: bool = False,
        limit: int = 20,
    ) -> None:
        self.address, self.seen = address, list[str]()
        self._records, self._rcode, self._silent, self._limit = records or {}, rcode, silent, limit
        self._udp = box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._tcp = box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        for opened in (self._udp, self._tcp):
            opened.bind((address, 53))
        self._tcp.listen()
        self._threads = [threading.Thread(target=run) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._udp.sendto(b"", self._udp.getsockname())
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            packet, peer = self._udp.recvfrom(65535)
            if not packet:
                return
            reply = self._reply(packet)
            if reply is not None and len(reply.answer) and len(reply.answer[0]) > self._limit:
                reply.answer.clear()
                reply.flags |= dns.flags.TC
            if reply is not None:
                self._udp.sendto(reply.to_wire(), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._converse, args=(connection,)))
            self._threads[-1].start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            while prefix := stream.read(2):
                reply = self._reply(stream.read(int.from_bytes(prefix, "big")))
                if reply is not None:
                    wire = reply.to_wire()
                    connection.sendall(len(wire).to_bytes(2, "big") + wire)

    def _reply(self, packet: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(packet)
        name = query.question[0].name
        self.seen.append(name.to_text())
        if self._silent or name.to_text() == NEVER:
            return None
        reply = dns.message.make_response(query)
        known = self._records.get(name.to_text())
        if self._rcode is not None:
            reply.set_rcode(self._rcode)
        elif known is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *known))
        return reply
