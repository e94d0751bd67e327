"""Raw streams over HTTP: connections taken over by a client, and Docker's framing of two outputs."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import termios
from collections.abc import AsyncIterator
from typing import Any, cast

from aiohttp import web

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
log = logging.getLogger("netmodel")
_QUEUE = 64  # pieces of input held before we stop reading
_FAREWELL_S = 5.0


class Hijacked(asyncio.Protocol):
    """A connection that no longer speaks HTTP.

    aiohttp's own protocol closes a connection whose peer shuts down its sending side; here that is
    the end of the input and nothing more, so the transport gets this protocol instead.
    """

    def __init__(self, request: web.Request) -> None:
        self._http = request.protocol
        self._transport = cast(asyncio.Transport, request.transport)
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self._gone = asyncio.Event()
        self._unheard = False
        tail = _Tail()
        # What came behind the request is handed to whoever takes over its parsing.
        request.protocol.set_parser(cast(Any, tail))
        request.protocol.keep_alive(False)
        self._transport.set_protocol(self)
        if tail.data:
            self.data_received(tail.data)

    async def read(self) -> bytes:
        """The next piece of input; b"" is its end, again and again."""
        data = await self._input.get()
        if not data:
            self._input.put_nowait(b"")
        elif self._input.qsize() < _QUEUE // 2 and not self._lost:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer reads slower than we write.

        Raises:
            ConnectionResetError: The peer is gone.
        """
        if self._lost:
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._writable.wait()

    async def taken_in(self) -> None:
        """Wait, for ten seconds at most, until the client has read all that was written."""
        unread = self._transport.get_extra_info("socket").fileno()
        for _ in range(10_000):
            if self._lost or fcntl.ioctl(unread, termios.TIOCOUTQ, bytes(4)) == bytes(4):
                return
            await asyncio.sleep(0.001)  # nothing wakes a sender when its peer reads

    async def let_go(self) -> None:
        """Say that nothing follows, and wait a while until the peer leaves; what it still sends goes nowhere.

        Closing with input unread would break the connection off instead of ending it.
        """
        self._unheard = True
        if self._lost:
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._gone.wait()

    def close(self) -> None:
        """Close once all that was written is sent."""
        self._transport.close()

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._unheard:
            return
        self._input.put_nowait(data)
        if self._input.qsize() >= _QUEUE:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._input.put_nowait(b"")
        self._gone.set()
        return True  # keep sending

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._gone.set()
        self._input.put_nowait(b"")
        self._writable.set()
        self._http.connection_lost(exc)


class _Tail:
    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None: ...


class Taken(web.StreamResponse):
    """What a handler returns whose connection was taken over: nothing is left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


@contextlib.asynccontextmanager
async def hijacked(
    request: web.Request, content_type: str, headers: dict[str, str], *, takes_input: bool = False
) -> AsyncIterator[Hijacked]:
    """Answer the request and take over its connection until the end of the block; its body has been read.

    What goes wrong inside is logged: there is no HTTP any more to tell it in.
    """
    if request.headers.get("Upgrade", "").lower() == "tcp":
        head = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade", "Upgrade: tcp"]
    else:
        head = ["HTTP/1.1 200 OK", "Connection: close"]
    head += [f"Content-Type: {content_type}", *(f"{name}: {value}" for name, value in headers.items())]
    connection = Hijacked(request)
    try:
        await connection.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        if request.headers.get("User-Agent", "").startswith("docker-sdk-python"):
            # It loses what it reads together with the head (docker-py issue 3332).
            await connection.taken_in()
        yield connection
        if takes_input:
            await connection.let_go()
    except ConnectionError:
        pass  # the client has left
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
    finally:
        connection.close()
