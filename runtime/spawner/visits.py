"""Further processes in running containers (exec): from the request to the exit code."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from runtime import wire
from runtime.codec import decode_process
from runtime.errors import InvalidSpec, KernelRefused
from runtime.kernel import clone
from runtime.launch.command import Visit
from runtime.spawner.forker import Forker
from runtime.spawner.loop import Loop
from runtime.spawner.record import DIED, Container, Reply, Visitor, exit_of


class Visits:
    """They are not kept: one that ends while no engine is connected is forgotten."""

    def __init__(self, loop: Loop, emit: Callable[[dict[str, Any]], None], forker: Forker) -> None:
        self._loop = loop
        self._emit = emit
        self._forker = forker
        self._count = 0

    def begin(self, container: Container, order: dict[str, Any], fds: Sequence[int], reply: Reply) -> Visitor:
        """Fork one; the reply comes when its program has taken over, or why it has not.

        Args:
            order: A Process as JSON.
            fds: For its 0, 1 and 2, unless it has a terminal.
        """
        try:
            process = decode_process(order)
        except TypeError as error:
            raise InvalidSpec(f"the process is malformed: {error}") from None
        with ExitStack() as both, ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)
            both.callback(theirs.close)
            try:
                pidfd = clone.pidfd(container.pid)
                both.callback(os.close, pidfd)
                stdio = None if process.terminal else (fds[0], fds[1], fds[2])
                visit = Visit(process, theirs.fileno(), pidfd, container.namespaces, container.cgroups, stdio)
                pid = self._forker.visit(visit, order)
            except OSError as error:
                raise KernelRefused(f"fork into container {container.id[:12]}", error) from None
            undo.pop_all()
        self._count += 1
        visitor = Visitor(f"{container.id}.{self._count}", pid, reply, ours)
        ours.setblocking(False)
        self._loop.watch(ours.fileno(), lambda: self._hear(visitor))
        return visitor

    def ended(self, visitor: Visitor, status: int) -> None:
        """Its wait status has come."""
        visitor.status = status
        self._report(visitor)

    def _hear(self, visitor: Visitor) -> None:
        while visitor.control is not None:
            try:
                received = wire.receive(visitor.control)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._part(visitor, visitor.control)
                return
            message, fds = received
            visitor.terminal.extend(fds)
            if "error" in message:
                visitor.failure = message["error"]
            elif "exec" in message:
                visitor.executing = True

    def _part(self, visitor: Visitor, control: socket.socket) -> None:
        """Its control socket is closed: by its program, or because there will be none."""
        self._loop.forget(control.fileno())
        control.close()
        visitor.control = None
        if visitor.executing and visitor.failure is None:
            visitor.started = True
            visitor.reply({"exec": visitor.id, "pid": visitor.pid, "fds": visitor.terminal})
            self._report(visitor)
            return
        for fd in visitor.terminal:
            os.close(fd)
        visitor.reply({"error": visitor.failure or DIED})

    def _report(self, visitor: Visitor) -> None:
        """Its end is told after its start, whichever was heard of first."""
        if visitor.started and visitor.status is not None:
            code, signum = exit_of(visitor.status)
            self._emit({"event": "exec_exit", "exec": visitor.id, "exit_code": code, "signal": signum})
