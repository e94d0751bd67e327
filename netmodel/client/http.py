"""As much of HTTP/1.1 as our engine speaks: one request on one connection.

The standard library's http.client would serve, but it drags in the email package: 20 ms of every
cold command.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from netmodel.client.errors import EngineUnavailable

CHUNK = 65536
_PIECE = 1 << 20


class Response:
    """An answer whose body is still on the way.

    Args:
        headers: Names in lower case.
    """

    def __init__(self, connection: socket.socket, method: str = "") -> None:
        self._connection = connection
        self._method = method
        self._buffer = b""
        status, *lines = self._head().split("\r\n")
        parts = status.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise EngineUnavailable(f"what listens there does not speak HTTP: it says {status!r}")
        self.status = int(parts[1])
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (ln.partition(":") for ln in lines)}

    def body(self) -> Iterator[bytes]:
        """Yield the body in pieces, as they arrive."""
        if self.status in (101, 204, 304) or self._method == "HEAD":
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._exactly(int(self.headers["content-length"]))
        else:
            yield from self._until_closed()

    def read(self) -> bytes:
        """The whole body; the connection is closed then."""
        try:
            return b"".join(self.body())
        finally:
            self.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the body line by line, without the ends of lines."""
        rest = b""
        for piece in self.body():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def hijack(self) -> tuple[socket.socket, bytes]:
        """Take over the connection, and what of the other side's bytes was read already."""
        taken, self._buffer = self._buffer, b""
        return self._connection, taken

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _head(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return head.decode("latin-1")

    def _more(self) -> None:
        piece = self._connection.recv(CHUNK)
        if not piece:
            raise EngineUnavailable(
                "the engine went away in the middle of its answer",
                "containers run on, and the next command starts it again; engine.log under its root may tell why",
            )
        self._buffer += piece

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer:
                self._more()
            piece, self._buffer = self._buffer[:count], self._buffer[count:]
            count -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().split(b";")[0], 16):
            yield from self._exactly(size)
            self._line()
        while self._line():  # trailers, then the empty line
            pass

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _until_closed(self) -> Iterator[bytes]:
        if self._buffer:
            yield self._buffer
            self._buffer = b""
        while piece := self._connection.recv(CHUNK):
            yield piece


def send(
    connection: socket.socket,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | IO[bytes] | None,
    patience: tuple[float, Callable[[], None]] | None = None,
) -> Response:
    """Send one request and read the head of its answer.

    Args:
        body: Bytes are JSON; a file is sent as it is, from where it stands to its end.
        patience: What to call each time that so many seconds have gone by without an answer; it may raise.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: netmodel", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None and not isinstance(body, bytes):
        lines += ["Content-Type: application/x-tar", "Transfer-Encoding: chunked"]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return _send_file(connection, body)
    if body is not None:
        lines.append("Content-Type: application/json")
    lines.append(f"Content-Length: {len(body or b'')}")
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))
    if patience is not None:
        _await(connection, *patience)
    return Response(connection, method)


def _await(connection: socket.socket, wait_s: float, again: Callable[[], None]) -> None:
    """Wait for the first of the answer, which may take as long as what is asked for does."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while not poll.poll(wait_s * 1000):
        again()


def _send_file(connection: socket.socket, file: IO[bytes]) -> Response:
    try:
        while piece := file.read(_PIECE):
            connection.sendall(b"%x\r\n" % len(piece))
            connection.sendall(piece)
            connection.sendall(b"\r\n")
        connection.sendall(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has refused before it had all; its answer says why
    return Response(connection)


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, safe: bytes = b"") -> str:
    """Escape what may not stand in a URL; urllib's own costs each cold command 2 ms to import."""
    return "".join(chr(b) if b in _PLAIN or b in safe else f"%{b:02X}" for b in text.encode())


def target(path: str, parameters: Mapping[str, str]) -> str:
    """Join a path and its query; the values are quoted here, the parts of the path by the caller."""
    if not parameters:
        return path
    return path + "?" + "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
