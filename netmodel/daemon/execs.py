"""Programs run beside a container's first process, with their input and output over the connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from aiohttp import web

from netmodel.daemon.answers import HEADERS, nothing, streaming, to_json
from netmodel.daemon.calls import ENGINE, call
from netmodel.daemon.descriptors import feed, pump
from netmodel.daemon.query import number
from netmodel.daemon.streams import MULTIPLEXED, RAW, Hijacked, Taken, hijacked
from netmodel.daemon.wire import execution as shapes
from netmodel.engine.values import ExecState
from netmodel.errors import StartRefused
from runtime.client import ExecHandle
from runtime.frame import frame

REFUSED = web.AppKey("refused", dict[str, int])  # exit codes of programs that could not be started


async def create(request: web.Request) -> web.Response:
    config = shapes.read_create(await request.read())
    made = await call(request, request.app[ENGINE].exec_create, request.match_info["ref"], config)
    return to_json({"Id": made}, 201)


async def inspect(request: web.Request) -> web.Response:
    exec_id = request.match_info["id"]
    answer = shapes.shape(request.app[ENGINE].exec_inspect(exec_id))
    if exec_id in request.app[REFUSED]:
        answer.update({"Running": False, "ExitCode": request.app[REFUSED][exec_id]})
    return to_json(answer)


async def start(request: web.Request) -> web.StreamResponse:
    wanted, exec_id, engine = shapes.read_start(await request.read()), request.match_info["id"], request.app[ENGINE]
    state = engine.exec_inspect(exec_id)
    kind = RAW if state.config.tty else MULTIPLEXED
    try:
        handle = await call(request, engine.exec_start, exec_id)
    except StartRefused as error:
        request.app[REFUSED][exec_id] = error.code
        if "Netmodel-Client" in request.headers or wanted.detach:
            raise
        return await _tell_refusal(request, kind, error)
    size = wanted.console_size
    if state.config.tty and size and len(size) == 2:
        await call(request, engine.exec_resize, exec_id, size[0], size[1])
    if wanted.detach:
        handle.close()
        return nothing(200)
    with streaming(request):
        async with hijacked(request, kind, HEADERS, takes_input=state.config.attach_stdin) as connection:
            await _carry(request, connection, handle, state)
    return Taken()


async def _carry(request: web.Request, connection: Hijacked, handle: ExecHandle, state: ExecState) -> None:
    """Carry input and output until the program has ended and all that it printed is sent."""
    wants_input = state.config.attach_stdin
    # Shielded: the engine waits for the same future.
    ended = asyncio.ensure_future(asyncio.shield(asyncio.wrap_future(handle.ended)))
    outputs = [asyncio.ensure_future(pump(source, write, ended)) for source, write in _outputs(connection, handle)]
    feeding = [asyncio.ensure_future(_feed(request, connection, handle, state))] if wants_input else []
    if not wants_input:
        handle.close_stdin()
    try:
        await asyncio.gather(*outputs)
        await ended
    finally:
        for task in (*outputs, *feeding):
            task.cancel()
        # Not before they let go of their descriptors: a number is given out again at once.
        await asyncio.gather(*outputs, *feeding, return_exceptions=True)
        handle.close()


async def _feed(request: web.Request, connection: Hijacked, handle: ExecHandle, state: ExecState) -> None:
    await feed(connection.read, _input(handle))
    if state.config.tty:  # who leaves a terminal has detached from it
        await call(request, request.app[ENGINE].exec_detached, state.id)


def _outputs(connection: Hijacked, handle: ExecHandle) -> Iterator[tuple[int, Callable[[bytes], Awaitable[None]]]]:
    async def write(data: bytes) -> None:
        # A client that has left has detached: its program runs on, and what it prints goes nowhere.
        with suppress(ConnectionError):
            await connection.write(data)

    if handle.terminal is not None:
        yield handle.terminal, write
    if handle.stdout is not None:
        yield handle.stdout, lambda data: write(frame("stdout", data))
    if handle.stderr is not None:
        yield handle.stderr, lambda data: write(frame("stderr", data))


def _input(handle: ExecHandle) -> int:
    """A descriptor for feed() to write to and close."""
    if handle.terminal is not None:
        return os.dup(handle.terminal)
    assert handle.stdin is not None
    descriptor, handle.stdin = handle.stdin, None
    return descriptor


async def _tell_refusal(request: web.Request, kind: str, error: StartRefused) -> web.StreamResponse:
    """As dockerd: the stream says why, and `inspect` has the exit code."""
    text = (error.message + "\n").encode()
    async with hijacked(request, kind, HEADERS) as connection:
        await connection.write(text if kind == RAW else frame("stderr", text))
    return Taken()


async def resize(request: web.Request) -> web.Response:
    rows, columns = number(request, "h") or 0, number(request, "w") or 0
    await call(request, request.app[ENGINE].exec_resize, request.match_info["id"], rows, columns)
    return nothing(200)


ROUTES = (
    ("POST", "/containers/{ref}/exec", create),
    ("GET", "/exec/{id}/json", inspect),
    ("POST", "/exec/{id}/start", start),
    ("POST", "/exec/{id}/resize", resize),
)
