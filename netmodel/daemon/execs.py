"""Programs run beside a container's first process, with their input and output over the connection."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp import web

from netmodel.daemon.answers import HEADERS, nothing, streaming, to_json
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.descriptors import feed, pump
from netmodel.daemon.query import number
from netmodel.daemon.streams import MULTIPLEXED, RAW, Hijacked, Taken, frame, hijack
from netmodel.daemon.wire import execution as shapes
from netmodel.errors import StartRefused

REFUSED = web.AppKey("refused", dict[str, int])  # exit codes of programs that could not be started


async def create(request: web.Request) -> web.Response:
    config = shapes.read_create(await request.read())
    made = await call(request, request.app[ENGINE].exec_create, request.match_info["ref"], config)
    return to_json({"Id": made}, 201)


async def inspect(request: web.Request) -> web.Response:
    exec_id = request.match_info["id"]
    answer = shapes.shape(await call(request, request.app[ENGINE].exec_inspect, exec_id))
    if exec_id in request.app[REFUSED]:
        answer.update({"Running": False, "ExitCode": request.app[REFUSED][exec_id]})
    return to_json(answer)


async def start(request: web.Request) -> web.StreamResponse:
    wanted, exec_id, engine = shapes.read_start(await request.read()), request.match_info["id"], request.app[ENGINE]
    state = await call(request, engine.exec_inspect, exec_id)
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
    connection = await hijack(request, kind, HEADERS)
    with streaming(request):
        await _carry(connection, handle)
    connection.close()
    return Taken()


async def _carry(connection: Hijacked, handle: Any) -> None:
    """Carry input and output until the program has ended and all that it printed is sent."""
    ended = asyncio.ensure_future(call_long(handle.wait))
    outputs = []
    feeding = None
    try:
        if handle.terminal is not None:
            outputs.append(asyncio.ensure_future(pump(handle.terminal, connection.write, ended)))
            feeding = asyncio.ensure_future(feed(connection.read, os.dup(handle.terminal), b"\x04"))
        else:
            for stream, descriptor in (("stdout", handle.stdout), ("stderr", handle.stderr)):
                if descriptor is not None:
                    write = _framed(connection, stream)
                    outputs.append(asyncio.ensure_future(pump(descriptor, write, ended)))
            if handle.stdin is not None:
                feeding = asyncio.ensure_future(feed(connection.read, handle.take_stdin(), b""))
        await asyncio.gather(*outputs)
        await asyncio.shield(ended)
    finally:
        for task in (*outputs, *([feeding] if feeding else [])):
            task.cancel()
        handle.close()


def _framed(connection: Hijacked, stream: str) -> Any:
    async def write(data: bytes) -> None:
        await connection.write(frame(stream, data))

    return write


async def _tell_refusal(request: web.Request, kind: str, error: StartRefused) -> web.StreamResponse:
    """As dockerd: the stream says why, and `inspect` has the exit code."""
    connection = await hijack(request, kind, HEADERS)
    text = (error.message + "\n").encode()
    await connection.write(text if kind == RAW else frame("stderr", text))
    connection.close()
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
