"""One message of the spawner's protocol: a JSON object and descriptors, in one datagram each.

A body too large for the socket's buffer travels as a memory file whose descriptor is sent instead.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

# Well below net.core.wmem_default, 208 KiB, with which a message must share the kernel's bookkeeping.
_INLINE_BYTES = 96 * 1024
# Kernel's SCM_MAX_FD: net/core/scm.c.
MAX_FDS = 253
_FDS_SPACE = socket.CMSG_SPACE(MAX_FDS * 4)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def send(to: socket.socket, message: object, fds: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay open here.

    Raises:
        OSError: EPIPE and ECONNRESET when the other side is gone, EAGAIN when a non-blocking socket is full.
    """
    body = _encode(message).encode()
    if len(body) <= _INLINE_BYTES:
        _send(to, body, fds)
        return
    memory = os.memfd_create("netmodel-message", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(body)
        _send(to, b"", (*fds, memory))
    finally:
        os.close(memory)


def _send(to: socket.socket, body: bytes, fds: Sequence[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    # An empty datagram looks like the end of the connection to its reader.
    to.sendmsg([body or b"-"], ancillary, socket.MSG_NOSIGNAL)


def _receive(source: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    return source.recvmsg(_INLINE_BYTES + 1, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)


def receive(source: socket.socket) -> tuple[Any, list[int]] | None:
    """Take the next message and its descriptors, which the caller owns; None at the end.

    Raises:
        OSError: EAGAIN when a non-blocking socket has none.
    """
    try:
        body, ancillary, _flags, _address = _receive(source)
    except ConnectionResetError:
        # Told once, and before what is still to be read, if the other side left without reading all of ours.
        body, ancillary, _flags, _address = _receive(source)
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(memoryview(data[: len(data) - len(data) % 4]).cast("i"))
    if not body:
        return None
    if body == b"-":
        memory = fds.pop()
        with open(memory, "rb") as file:
            file.seek(0)
            body = file.read()
    return json.loads(body), fds
