"""The spawner's socket: one engine at a time, a new one replaces the old."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from runtime import wire
from runtime.errors import RuntimeFault
from runtime.launch.control import describe
from runtime.spawner.loop import Loop
from runtime.spawner.service import Service, close_all

_IDLE_S = 10.0


class Server:
    """Takes requests off the connection, and puts replies and events on it."""

    def __init__(self, loop: Loop, listener: socket.socket) -> None:
        self._loop = loop
        self._listener = listener
        self._engine: socket.socket | None = None
        self._outbox: deque[tuple[dict[str, Any], Sequence[int]]] = deque()
        self._service = Service(loop, self._send)
        loop.watch(listener.fileno(), self._accept)
        self._rest()

    def reap(self) -> None:
        self._service.reap()
        self._rest()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._hang_up()
        connection.setblocking(False)
        self._engine = connection
        self._loop.watch(connection.fileno(), self._receive)
        self._send({"event": "hello", "pid": os.getpid()})
        for event in self._service.exits():
            self._send(event)
        self._rest()

    def _hang_up(self) -> None:
        if self._engine is None:
            return
        self._loop.forget(self._engine.fileno())
        self._engine.close()
        self._engine = None
        while self._outbox:
            close_all(self._outbox.popleft()[1])
        self._rest()

    def _rest(self) -> None:
        """End after a while in which nobody has asked for anything and there is nothing to keep."""
        if self._engine is None and self._service.idle:
            self._loop.at(_IDLE_S, self._end_if_idle)
        else:
            self._loop.at(None)

    def _end_if_idle(self) -> None:
        if self._engine is None and self._service.idle:
            raise SystemExit

    def _receive(self) -> None:
        connection = self._engine
        if connection is None:
            return
        if self._outbox and not self._flush():
            return
        try:
            received = wire.receive(connection)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self._hang_up()
            return
        request, fds = received
        try:
            self._answer(connection, request, fds)
        finally:
            close_all(fds)

    def _answer(self, connection: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
        number = request["id_"]  # None: nobody waits for an answer

        def reply(result: dict[str, Any]) -> None:
            passed = result.pop("fds", ())
            if self._engine is connection and number is not None:
                self._send({"reply": number, **result}, passed)
            else:
                close_all(passed)

        try:
            self._service.verbs[request["verb"]](request, fds, reply)
        except Exception as error:
            if not isinstance(error, RuntimeFault):
                sys.excepthook(*sys.exc_info())
            reply({"error": describe(error)})

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send to the engine, if there is one; descriptors are closed once sent."""
        if self._engine is None:
            close_all(fds)
            return
        self._outbox.append((message, fds))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> bool:
        """Send what waits; False if the engine is gone. What its buffer does not take waits for room."""
        while self._outbox and self._engine is not None:
            message, fds = self._outbox[0]
            try:
                wire.send(self._engine, message, fds)
            except BlockingIOError:
                self._loop.watch(self._engine.fileno(), self._receive, writable=True)
                return True
            except OSError:
                self._hang_up()
                return False
            self._outbox.popleft()
            close_all(fds)
        if self._engine is not None:
            self._loop.watch(self._engine.fileno(), self._receive)
        return True
