"""The name servers that know the rest: which they are, and asking them.

A server that is slow is not waited for: the next one is asked meanwhile, and the first useful answer
counts. What is forwarded is passed on as it came, but for its id.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

from netmodel.dns.answer import HEADER_BYTES
from netmodel.dns.stream import read_message, write_message

PORT = 53
ATTEMPTS = 3
NEXT_AFTER_S = 1.0
# Below the five seconds after which the C library's resolver asks again (man 5 resolv.conf, timeout).
GIVE_UP_AFTER_S = 4.5
AVOIDED_FOR_S = 10.0
_UNHELPFUL = (2, 5)  # SERVFAIL and REFUSED: another server may know

OpenSocket = Callable[[Callable[[], socket.socket]], socket.socket]


class ResolvConf:
    """The name servers in a resolv.conf, read again whenever the file is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._servers: tuple[str, ...] = ()

    def servers(self) -> tuple[str, ...]:
        """In their order; none if there is no such file."""
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._servers = _nameservers(self._path.read_text(errors="replace"))
                self._seen = seen
        except OSError:
            self._seen, self._servers = (), ()
        return self._servers


class Forwarder:
    """Asks a set of servers and remembers which of them do not answer.

    Args:
        servers: Gives their addresses, in order of preference.
        open_socket: Calls what makes a socket where it shall be: in a sandbox, say.
    """

    def __init__(self, servers: Callable[[], Sequence[str]], open_socket: OpenSocket | None = None) -> None:
        self._servers = servers
        self._open_socket: OpenSocket = open_socket or (lambda make: make())
        self._avoided: dict[str, float] = {}

    async def ask(self, query: bytes, stream: bool) -> bytes | None:
        """Get an answer to a query; None if no server gave one.

        Args:
            stream: Ask over TCP, as the asker did: then the answer may be a long one.
        """
        waiting = list(islice(cycle(self._ordered()), ATTEMPTS)) if self._servers() else []
        asked: dict[asyncio.Task[bytes | None], str] = {}
        fallback: bytes | None = None
        end = time.monotonic() + GIVE_UP_AFTER_S
        try:
            while (waiting or asked) and (left := end - time.monotonic()) > 0:
                if waiting:
                    server = waiting.pop(0)
                    asked[asyncio.create_task(self._exchange(server, query, stream))] = server
                timeout_s = min(left, NEXT_AFTER_S) if waiting else left
                done, _ = await asyncio.wait(asked, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    server, reply = asked.pop(task), task.result()
                    if reply is not None and reply[3] & 0x0F not in _UNHELPFUL:
                        self._avoided.pop(server, None)
                        return reply
                    fallback = reply or fallback
                    waiting = [other for other in waiting if other != server]
                    self._avoid(server)
            return fallback
        finally:
            for task, server in asked.items():
                task.cancel()
                self._avoid(server)
            await asyncio.gather(*asked, return_exceptions=True)

    def _ordered(self) -> list[str]:
        now = time.monotonic()
        return sorted(self._servers(), key=lambda server: self._avoided.get(server, 0.0) > now)

    def _avoid(self, server: str) -> None:
        self._avoided[server] = time.monotonic() + AVOIDED_FOR_S

    async def _exchange(self, server: str, query: bytes, stream: bool) -> bytes | None:
        # A socket for each query: its port, chosen by the kernel, and a new id are what somebody
        # who forges answers would have to guess (RFC 5452 section 9.2).
        sent = os.urandom(2) + query[2:]
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                server, PORT, type=socket.SOCK_STREAM if stream else socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )[0]
            with self._open_socket(lambda: socket.socket(family, kind | socket.SOCK_CLOEXEC)) as opened:
                opened.setblocking(False)
                await asyncio.get_running_loop().sock_connect(opened, address)
                reply = await (_over_tcp(opened, sent) if stream else _over_udp(opened, sent))
        except OSError:
            return None
        return query[:2] + reply[2:]


async def _over_udp(opened: socket.socket, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(opened, query)
    while True:
        reply = await loop.sock_recv(opened, 65535)
        if _answers(query, reply):
            return reply


async def _over_tcp(opened: socket.socket, query: bytes) -> bytes:
    await write_message(opened, query)
    reply = await read_message(opened)
    if reply is None or not _answers(query, reply):
        raise ConnectionError("no answer to this question")
    return reply


def _answers(query: bytes, reply: bytes) -> bool:
    """Say whether this is an answer to that question."""
    if len(reply) < HEADER_BYTES or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return True  # an error without a question, as some servers send it
    end = query.find(b"\0", HEADER_BYTES) + 5  # the root label ends the name; type and class follow
    return reply[HEADER_BYTES:end].lower() == query[HEADER_BYTES:end].lower()


def _nameservers(text: str) -> tuple[str, ...]:
    """Read "nameserver" lines; the C library, too, takes the first three (man 5 resolv.conf)."""
    lines = [line.split() for line in text.splitlines()]
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")[:3]
