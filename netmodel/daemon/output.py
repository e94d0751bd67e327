"""What a container's first process prints and reads: logs, attach, the size of its terminal."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from urllib.parse import quote_plus

from aiohttp import web

from netmodel.daemon.answers import HEADERS, nothing, streaming
from netmodel.daemon.calls import ENGINE, call, iterate, watch
from netmodel.daemon.descriptors import feed, pump
from netmodel.daemon.query import flag, moment, number
from netmodel.daemon.streams import MULTIPLEXED, RAW, Hijacked, Taken, hijacked
from netmodel.engine.events import Subscription
from netmodel.errors import Conflict, Invalid
from netmodel.model import Container
from runtime.frame import frame
from runtime.logs import LogEntry


async def logs(request: web.Request) -> web.StreamResponse:
    engine = request.app[ENGINE]
    stdout, stderr = flag(request, "stdout"), flag(request, "stderr")
    if not stdout and not stderr:
        raise Invalid("no stream is chosen", "set stdout=1, stderr=1 or both")
    read = partial(
        engine.logs,
        follow=flag(request, "follow"),
        tail=_tail(request),
        since=moment(request, "since"),
        until=None if request.query.get("until") == "0" else moment(request, "until"),  # 0 is no end, as in Docker
        stdout=stdout,
        stderr=stderr,
    )
    container = await call(request, engine.container, request.match_info["ref"])
    if container.config.log.driver == "none":
        raise Conflict(f"container {container.name} keeps no logs: its log driver is none", "attach shows what comes")
    lines = _Lines(container, flag(request, "timestamps"), flag(request, "details"))
    response = web.StreamResponse(headers={"Content-Type": RAW if container.config.tty else MULTIPLEXED})
    await response.prepare(request)
    with streaming(request):
        async with aclosing(iterate(lambda stop: read(container.id, stop=stop))) as output:
            async for entries in output:
                await response.write(lines.encode(entries))
    await response.write_eof()
    return response


def _tail(request: web.Request) -> int | None:
    """So many lines; Docker's word for all of them is "all", or a number below zero."""
    tail = None if request.query.get("tail") == "all" else number(request, "tail")
    return tail if tail is None or tail >= 0 else None


async def attach(request: web.Request) -> web.StreamResponse:
    """Join what the container prints from now on, and give it our input; ends when the container does."""
    engine = request.app[ENGINE]
    await request.read()
    container = await call(request, engine.container, request.match_info["ref"])
    if container.state.status == "paused":
        raise Conflict(f"container {container.name} is paused", "unpause it first")
    subscription, woken = watch(engine)
    streams = [name for name in ("stdout", "stderr") if flag(request, name)]
    # Before the answer: who has it may start the container, and misses nothing.
    descriptor, at = await call(request, engine.attach, container.id, streams, framed=not container.config.tty)
    try:
        container = await call(request, engine.container, container.id)
        kind = RAW if container.config.tty else MULTIPLEXED
        with streaming(request):
            async with hijacked(request, kind, HEADERS, takes_input=flag(request, "stdin")) as connection:
                if flag(request, "logs"):
                    await _replay(request, connection, container, at, streams)
                if flag(request, "stream"):
                    await _attached(request, connection, container, descriptor, subscription, woken)
    finally:
        os.close(descriptor)
        subscription.close()
    return Taken()


async def _replay(
    request: web.Request, connection: Hijacked, container: Container, until: datetime, streams: Sequence[str]
) -> None:
    """What was printed before, as far as the log has it."""
    lines, stdout, stderr = _Lines(container), "stdout" in streams, "stderr" in streams
    read = partial(request.app[ENGINE].logs, until=until, stdout=stdout, stderr=stderr)
    async with aclosing(iterate(lambda stop: read(container.id, stop=stop))) as output:
        async for entries in output:
            await connection.write(lines.encode(entries))


async def _attached(
    request: web.Request,
    connection: Hijacked,
    container: Container,
    descriptor: int,
    subscription: Subscription,
    woken: asyncio.Event,
) -> None:
    """Carry output until it ends, and input as long as that lasts."""
    begun = asyncio.ensure_future(_begun(container, subscription, woken))
    wants_input = flag(request, "stdin") and container.config.open_stdin
    feeding = asyncio.ensure_future(_feed(request, connection, container, begun)) if wants_input else None
    try:
        await pump(descriptor, connection.write, _never(begun))
    finally:
        for task in (begun, feeding):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)  # it may have ended with the container


def _never(begun: asyncio.Future[bool]) -> asyncio.Future[None]:
    """Done when the container will print nothing ever, since it was removed, or could not be started."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(begun: asyncio.Future[bool]) -> None:
        if not ended.done() and not begun.cancelled() and not begun.exception() and not begun.result():
            ended.set_result(None)

    begun.add_done_callback(settle)
    return ended


async def _feed(request: web.Request, connection: Hijacked, container: Container, begun: asyncio.Future[bool]) -> None:
    """Carry the client's input to the container until either ends."""
    engine = request.app[ENGINE]
    if not await asyncio.shield(begun):
        return
    descriptor = await call(request, engine.input, container.id)
    await feed(connection.read, descriptor)
    # Who leaves a terminal has detached from it; what runs there goes on.
    if container.config.tty:
        await call(request, engine.detached, container.id)
        return
    # As with Docker's StdinOnce: the first client to come is the last.
    await call(request, engine.close_input, container.id)


async def _begun(container: Container, subscription: Subscription, woken: asyncio.Event) -> bool:
    """Wait until a container that does not run is started; False when it never will be."""
    if container.state.running:
        return True
    while True:
        try:
            event = subscription.get_nowait()
        except queue.Empty:
            if subscription.closed:
                return False
            await woken.wait()
            woken.clear()
            continue
        if event.type == "container" and event.id == container.id and event.action in ("start", "die", "destroy"):
            return event.action == "start"


def _details(entry: LogEntry) -> str:
    """The attributes of a line as Docker shows them."""
    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(entry.attributes.items())) + " "


class _Lines:
    """Entries of a log as bytes for a client.

    Args:
        timestamps: Begin each line with its time. A line may come in several entries.
        details: And with its attributes.
    """

    def __init__(self, container: Container, timestamps: bool = False, details: bool = False) -> None:
        self._raw = container.config.tty
        self._timestamps = timestamps
        self._details = details
        self._within: dict[str, bool] = {}

    def encode(self, entries: Sequence[LogEntry]) -> bytes:
        return b"".join(map(self._piece, entries))

    def _piece(self, entry: LogEntry) -> bytes:
        data = entry.log.encode("utf-8", "surrogateescape")
        if not self._within.get(entry.stream):
            time = f"{entry.time} " if self._timestamps else ""
            data = f"{time}{_details(entry) if self._details else ''}".encode() + data
        self._within[entry.stream] = not entry.log.endswith("\n")
        return data if self._raw else frame(entry.stream, data)


async def resize(request: web.Request) -> web.Response:
    rows, columns = number(request, "h"), number(request, "w")
    await call(request, request.app[ENGINE].resize, request.match_info["ref"], rows or 0, columns or 0)
    return nothing(200)


ROUTES = (
    ("GET", "/containers/{ref}/logs", logs),
    ("POST", "/containers/{ref}/attach", attach),
    ("POST", "/containers/{ref}/resize", resize),
)
