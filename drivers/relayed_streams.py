"""A relayed port of TCP: for each connection another to the container, and what comes from one goes to the other."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from drivers.api import IPAddress
from drivers.kernel.pktinfo import of_connection
from drivers.relayed import Admits, Means, RelayedPort

CONNECTIONS = 1000  # of one port at once
BURST = 64  # are accepted before others have their turn
CONNECT_S = 10.0
ACCEPT_AGAIN_AFTER_S = 1.0
# Whoever has vanished without a word is given up after four minutes.
_ALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
_DESCRIPTORS = 2  # a connection
_AT_ONCE = struct.pack("@ii", 1, 0)  # linger: closing resets

log = logging.getLogger("netmodel")


class Streams(RelayedPort):
    """Serves one listening socket."""

    def __init__(self, means: Means, held: socket.socket, target: tuple[IPAddress, int], admits: Admits) -> None:
        super().__init__(means, held, target, admits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    async def end(self) -> None:
        """Reset what is under way."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def serve(self) -> None:
        """Accept who has called."""
        for _ in range(BURST):
            try:
                client, _peer = self._held.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is free. Until one is, the loop would come back here at once, for ever.
                self._watch(0)
                self._loop.call_later(ACCEPT_AGAIN_AFTER_S, self._watch, select.EPOLLIN)
                return
            self._take(client)

    def _watch(self, events: int) -> None:
        if not self._ended:
            with suppress(FileNotFoundError):  # it is about to end
                self._means.watch.modify(self._held, events)

    def _take(self, client: socket.socket) -> None:
        client.setblocking(False)
        # So that it holds the port against nobody when an engine that died has left it behind.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            admitted = self._admits(*of_connection(client))
        except OSError:  # it has gone again
            admitted = False
        if not admitted or not self._has_room():
            _close(client, at_once=True)
            return
        task = self._loop.create_task(self._relay(client))
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._done(task, client))

    def _has_room(self) -> bool:
        if len(self._tasks) < CONNECTIONS and self._means.take(_DESCRIPTORS):
            return True
        self._means.tell(self._held, f"{len(self._tasks)} connections are relayed at once, more are refused")
        return False

    def _done(self, task: asyncio.Task[None], client: socket.socket) -> None:
        self._tasks.discard(task)
        self._means.give(_DESCRIPTORS)
        _close(client, at_once=True)  # one that was cancelled before it began has closed nothing
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a relayed connection failed", exc_info=error)

    async def _relay(self, client: socket.socket) -> None:
        whole = False
        with socket.socket(_family(self._target[0]), socket.SOCK_STREAM) as server:
            server.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._loop.sock_connect(server, (str(self._target[0]), self._target[1]))
                for one in (client, server):
                    _tune(one)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(client, server))
                    both.create_task(self._pump(server, client))
                whole = True
            except* OSError:
                pass  # one side has reset it, or could not be reached: so is the other told
            finally:
                _close(server, at_once=not whole)
                _close(client, at_once=not whole)

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry what comes from one side to the other until it has no more to say, and tell that."""
        room = memoryview(self._means.buffer)
        while True:
            try:
                count = source.recv_into(room)
            except BlockingIOError:
                await self._ready(source, self._loop.add_reader, self._loop.remove_reader)
                continue
            if not count:
                break
            sent = _send(sink, room[:count])
            rest = bytes(room[sent:count])
            while rest:  # nothing more is read meanwhile, so the source waits, too
                await self._ready(sink, self._loop.add_writer, self._loop.remove_writer)
                rest = rest[_send(sink, rest) :]
            await asyncio.sleep(0)
        with suppress(OSError):  # the other side has gone already
            sink.shutdown(socket.SHUT_WR)

    async def _ready(self, one: socket.socket, watch: Callable[..., None], unwatch: Callable[..., bool]) -> None:
        ready = asyncio.Event()
        watch(one, ready.set)
        try:
            await ready.wait()
        finally:
            unwatch(one)


def _send(sink: socket.socket, data: bytes | memoryview) -> int:
    try:
        return sink.send(data)
    except BlockingIOError:
        return 0


def _tune(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _ALIVE:
        one.setsockopt(socket.IPPROTO_TCP, option, value)


def _close(one: socket.socket, at_once: bool) -> None:
    if one.fileno() < 0:
        return
    with suppress(OSError):
        if at_once:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    one.close()


def _family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
