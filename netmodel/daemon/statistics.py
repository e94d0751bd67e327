"""What a container uses, once or again every second."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from netmodel.daemon.answers import streaming, to_json
from netmodel.daemon.calls import ENGINE, call
from netmodel.daemon.query import flag
from netmodel.daemon.wire.stats import Reading, shape
from netmodel.errors import NetmodelError

_PERIOD_S = 1.0
# Long enough for a share of the CPU that means something.
_SINGLE_S = 0.5


async def stats(request: web.Request) -> web.StreamResponse:
    """Docker's clients compute the share of the CPU from a reading and the one before it."""
    if flag(request, "stream", default=True):
        return await _stream(request)
    container = await call(request, request.app[ENGINE].container, _ref(request))
    if not container.state.running:
        return to_json(shape(container, None, None))
    first = None
    if not flag(request, "one-shot"):
        first = await _read(request)
        await asyncio.sleep(_SINGLE_S)
    return to_json(shape(container, first, await _read(request)))


async def _stream(request: web.Request) -> web.StreamResponse:
    """A line of JSON a second, until the container ends or the client goes."""
    engine, ref = request.app[ENGINE], _ref(request)
    container = await call(request, engine.container, ref)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with streaming(request):
        before: Reading | None = None
        while container.state.running:
            try:
                now = await _read(request)
                container = await call(request, engine.container, container.id)
            except NetmodelError:  # it has just ended, or is gone
                break
            await response.write(_line(shape(container, before, now)))
            before = now
            await asyncio.sleep(_PERIOD_S)
        if before is None:
            await response.write(_line(shape(container, None, None)))
    await response.write_eof()
    return response


async def _read(request: web.Request) -> Reading:
    used = await call(request, request.app[ENGINE].stats, _ref(request))
    return used, asyncio.get_running_loop().time()


def _line(answer: dict[str, Any]) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def _ref(request: web.Request) -> str:
    return request.match_info["ref"].removeprefix("/")


ROUTES = (("GET", "/containers/{ref}/stats", stats),)
