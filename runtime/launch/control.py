"""The socket between the spawner and a child that is not its program yet.

The spawner says step by step how far it is, a byte each; the child says {"error": ...}, or {"exec": true} right
before its program takes its place, which closes the socket. A child that dies says nothing.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Any, NoReturn

from runtime import wire
from runtime.errors import RuntimeFault, StartFailed

# Ids are mapped and control groups joined; the mounts are made (and passed); the program may run.
MAPPED, MOUNTS, GO = b"i", b"m", b"g"


class Control:
    """The child's end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd)

    def fileno(self) -> int:
        return self._socket.fileno()

    def expect(self, step: bytes) -> list[int]:
        """Wait until the spawner says so, and take what it passes; end this process if it never will."""
        try:
            said, fds = wire.receive_bytes(self._socket, 1)
        except OSError:
            said = b""
        if said != step:
            os._exit(1)
        return fds

    def tell(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        wire.send(self._socket, message, fds)

    def exit_if_orphaned(self) -> None:
        """End this process if the spawner died before die_with_parent() could have told us."""
        poll = select.poll()
        poll.register(self._socket, 0)
        if poll.poll(0):
            os._exit(1)

    def fail(self, error: Exception) -> NoReturn:
        """Report why there will be no program, and end."""
        try:
            self.tell({"error": describe(error)})
        finally:
            os._exit(1)


def describe(error: Exception) -> dict[str, Any]:
    """An error as JSON; recover() makes an error of it again."""
    if isinstance(error, RuntimeFault):
        described: dict[str, Any] = {"message": str(error), "kind": error.kind, "hint": error.hint}
        if isinstance(error, StartFailed):
            described["code"] = error.code
        return described
    return {"message": f"{type(error).__name__}: {error}", "kind": "internal", "hint": ""}


def recover(described: dict[str, Any]) -> RuntimeFault:
    if "code" in described:
        return StartFailed(described["code"], described["message"], described["hint"], kind=described["kind"])
    return RuntimeFault(described["message"], described["hint"], kind=described["kind"])
