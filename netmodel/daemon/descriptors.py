"""Reading and writing pipes and terminals from the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

_PIECE = 65536


async def pump(descriptor: int, write: Callable[[bytes], Awaitable[None]], ended: asyncio.Future[Any]) -> None:
    """Carry all that comes out of a descriptor to write().

    Args:
        ended: Done when the program has ended: what it left in the pipe is still carried, but a child
            of its that keeps the pipe open is not waited for.
    """
    os.set_blocking(descriptor, False)
    while True:
        over = ended.done()  # looked at before the read: what was printed before the end is seen
        data = _read(descriptor)
        if data:
            await write(data)
        elif data is not None or over:
            return
        else:
            await _ready(descriptor, ended)


async def feed(read: Callable[[], Awaitable[bytes]], descriptor: int) -> None:
    """Carry all that read() gives into a descriptor, and close it then."""
    os.set_blocking(descriptor, False)
    try:
        while data := await read():
            await _write(descriptor, data)
    except BrokenPipeError:
        pass  # the program does not read any more
    except OSError as error:
        if error.errno != errno.EIO:  # a terminal that nobody holds open
            raise
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes | None:
    """What is there now: None when nothing is, b"" at the end."""
    try:
        return os.read(descriptor, _PIECE)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # the last program with this terminal is gone (man 4 pts)
            return b""
        raise


async def _ready(descriptor: int, ended: asyncio.Future[Any]) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(descriptor, _complete, readable)
    try:
        await asyncio.wait([readable, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(descriptor)


async def _write(descriptor: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            writable = loop.create_future()
            loop.add_writer(descriptor, _complete, writable)
            try:
                await writable
            finally:
                loop.remove_writer(descriptor)


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
