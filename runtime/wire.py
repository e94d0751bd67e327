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
        send_bytes(to, body, fds)
        return
    memory = os.memfd_create("netmodel-message", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(body)
        send_bytes(to, b"-", (*fds, memory))
    finally:
        os.close(memory)


def send_bytes(to: socket.socket, body: bytes, fds: Sequence[int] = ()) -> None:
    """Send a datagram that is not JSON; not an empty one, which looks like the end of the connection."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    to.sendmsg([body], ancillary, socket.MSG_NOSIGNAL)


def receive_bytes(source: socket.socket, size: int = _INLINE_BYTES + 1) -> tuple[bytes, list[int]]:
    """Take the next datagram as it is, and its descriptors; b"" at the end."""
    body, ancillary, _flags, _address = source.recvmsg(size, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return body, fds.tolist()


def receive(source: socket.socket) -> tuple[Any, list[int]] | None:
    """Take the next message and its descriptors, which the caller owns; None at the end.

    Raises:
        OSError: EAGAIN when a non-blocking socket has none.
    """
    try:
        body, fds = receive_bytes(source)
    except ConnectionResetError:
        # Told once, and before what is still to be read, if the other side left without reading all of ours.
        body, fds = receive_bytes(source)
    if not body:
        return None
    if body == b"-":
        memory = fds.pop()
        with open(memory, "rb") as file:
            file.seek(0)
            body = file.read()
    return json.loads(body), fds
