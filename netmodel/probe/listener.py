"""Listeners that we place in a target, so that a probe meets something where no program listens.

TCP: a listening socket; the kernel answers SYNs for it, and nothing is ever accepted. UDP: a socket
that sends every datagram back. Both are bound to the one address that is probed and are gone when
the check is. Where a program holds the port already, that program serves.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drivers.kernel.namespace import open_in
from netmodel.probe.probe import IPAddress
from netmodel.probe.sandbox import family_of

_Key = tuple[Path | None, str, IPAddress, int]


class Listeners:
    """All that one check has placed; expectations about the same port share one."""

    def __init__(self) -> None:
        self._placed: dict[_Key, tuple[socket.socket, int]] = {}

    @contextmanager
    def ensure(self, netns: Path | None, protocol: str, address: IPAddress, port: int) -> Iterator[str]:
        """Have something listen there inside the block, and say what: "a listener placed for it", say.

        Raises:
            OSError: The address is not the sandbox's, or the port may not be bound.
        """
        if protocol == "icmp":
            yield "its own stack"  # it answers echo requests itself
            return
        key = (netns, protocol, address, port)
        if not self._claim(key):
            yield "the program bound to it"
            return
        try:
            yield "a listener placed for it"
        finally:
            self._release(key)

    def _claim(self, key: _Key) -> bool:
        """Share the listener that is there or place one; False when a program holds the port."""
        if key in self._placed:
            sock, users = self._placed[key]
            self._placed[key] = (sock, users + 1)
            return True
        try:
            sock = _place(*key)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._placed[key] = (sock, 1)
        if key[1] == "udp":
            asyncio.get_running_loop().add_reader(sock, _send_back, sock)
        return True

    def _release(self, key: _Key) -> None:
        sock, users = self._placed.pop(key)
        if users > 1:
            self._placed[key] = (sock, users - 1)
            return
        if key[1] == "udp":
            asyncio.get_running_loop().remove_reader(sock)
        sock.close()


def _place(netns: Path | None, protocol: str, address: IPAddress, port: int) -> socket.socket:
    def make() -> socket.socket:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        sock = socket.socket(family_of(address), kind | socket.SOCK_NONBLOCK)
        try:
            # Connections of a program that has just ended do not hold the port (TIME_WAIT).
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((str(address), port))
            if protocol == "tcp":
                sock.listen(128)
        except BaseException:
            sock.close()
            raise
        return sock

    return open_in(netns, make)


def _send_back(sock: socket.socket) -> None:
    with suppress(OSError):  # the sender's side may refuse; that is its own finding
        data, sender = sock.recvfrom(65535)
        sock.sendto(data, sender)
