"""DNS messages over TCP: each preceded by its length in two bytes (RFC 1035 section 4.2.2)."""

from __future__ import annotations

import asyncio
import socket


async def read_message(connection: socket.socket) -> bytes | None:
    """Read one message; None when the other side has no more to say."""
    prefix = await _exactly(connection, 2)
    return None if prefix is None else await _exactly(connection, int.from_bytes(prefix, "big"))


async def write_message(connection: socket.socket, message: bytes) -> None:
    # In one piece: RFC 7766 section 8, a length alone in a segment confuses some.
    await asyncio.get_running_loop().sock_sendall(connection, len(message).to_bytes(2, "big") + message)


async def _exactly(connection: socket.socket, length: int) -> bytes | None:
    parts = b""
    while len(parts) < length:
        part = await asyncio.get_running_loop().sock_recv(connection, length - len(parts))
        if not part:
            return None
        parts += part
    return parts
