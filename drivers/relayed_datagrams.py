"""A relayed port of UDP: each client has a socket to the container, until it has been silent for a while."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from drivers.api import IPAddress
from drivers.kernel.pktinfo import ROOM, of_datagram, sent_from
from drivers.relayed import Admits, Means, RelayedPort

CLIENTS = 1000  # of one port at once
IDLE_S = 90.0
BURST = 32  # datagrams of one socket before others have their turn
_LARGEST = 65535

Key = tuple[Any, IPAddress]  # the client's address, and ours that it has asked at


@dataclass(slots=True)
class _Client:
    server: socket.socket
    heard: float  # from either side, by the loop's clock


class Datagrams(RelayedPort):
    """Serves one bound socket. What cannot be sent at once is lost."""

    def __init__(self, means: Means, held: socket.socket, target: tuple[IPAddress, int], admits: Admits) -> None:
        super().__init__(means, held, target, admits)
        self._clients: OrderedDict[Key, _Client] = OrderedDict()  # the one silent longest first
        self._sweep: asyncio.TimerHandle | None = None

    async def end(self) -> None:
        """Forget all clients."""
        if self._sweep is not None:
            self._sweep.cancel()
        while self._clients:
            self._forget_oldest()

    def serve(self) -> None:
        """Carry what has come."""
        for _ in range(BURST):
            try:
                data, ancillary, _flags, peer = self._held.recvmsg(_LARGEST, ROOM)
            except OSError:
                return  # no more; or an answer of ours met a closed port, which is the asker's affair
            called = of_datagram(ancillary)
            if called is None or not self._admits(*called):
                continue
            client = self._client((peer, called[0]))
            if client is not None:
                with suppress(OSError):
                    client.server.send(data)

    def _client(self, key: Key) -> _Client | None:
        known = self._clients.get(key)
        if known is None:
            known = self._new_client(key)
        if known is not None:
            self._heard(key, known)
        return known

    def _new_client(self, key: Key) -> _Client | None:
        if not self._make_room():
            return None
        address, port = self._target
        server = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        server.setblocking(False)
        try:
            server.connect((str(address), port))
        except OSError:  # no way there, now
            server.close()
            self._means.give(1)
            return None
        self._clients[key] = client = _Client(server, 0.0)
        self._loop.add_reader(server, self._from_server, key, client)
        return client

    def _make_room(self) -> bool:
        """Have a descriptor for one more, if need be that of who was silent longest.

        Forged senders come once, honest ones again and again.
        """
        if len(self._clients) < CLIENTS and self._means.take(1):
            return True
        self._means.tell(self._held, f"{len(self._clients)} clients are relayed at once, more take others' places")
        if self._clients:
            self._forget_oldest()
        return self._means.take(1)

    def _from_server(self, key: Key, client: _Client) -> None:
        peer, asked_at = key
        for _ in range(BURST):
            try:
                data = client.server.recv(_LARGEST)
            except OSError:
                return  # no more; or the container has no such port
            self._heard(key, client)
            with suppress(OSError):
                self._held.sendmsg([data], sent_from(self._held, asked_at), 0, peer)

    def _heard(self, key: Key, client: _Client) -> None:
        client.heard = self._loop.time()
        self._clients.move_to_end(key)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_S, self._forget_silent)

    def _forget_silent(self) -> None:
        self._sweep = None
        now = self._loop.time()
        while self._clients:
            oldest = next(iter(self._clients.values()))
            left = oldest.heard + IDLE_S - now
            if left > 0:
                self._sweep = self._loop.call_later(left, self._forget_silent)
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, client = self._clients.popitem(last=False)
        self._loop.remove_reader(client.server)
        client.server.close()
        self._means.give(1)
