"""What a container's first process prints and reads: logs, attach, the size of its terminal."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote_plus

from aiohttp import web

from netmodel.daemon.answers import HEADERS, nothing, streaming
from netmodel.daemon.calls import ENGINE, call, iterate, watch
from netmodel.daemon.descriptors import feed
from netmodel.daemon.query import flag, moment, number
from netmodel.daemon.streams import MULTIPLEXED, RAW, Hijacked, Taken, frame, hijacked
from netmodel.engine.events import Subscription
from netmodel.errors import Conflict, Invalid
from netmodel.model import Container
from runtime.logs import LogEntry


async def logs(request: web.Request) -> web.StreamResponse:
    engine = request.app[ENGINE]
    stdout, stderr, tail = flag(request, "stdout"), flag(request, "stderr"), request.query.get("tail") or "all"
    if not stdout and not stderr:
        raise Invalid("no stream is chosen", "set stdout=1, stderr=1 or both")
    read = partial(
        engine.logs,
        follow=flag(request, "follow"),
        tail=None if tail == "all" else number(request, "tail"),
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


async def attach(request: web.Request) -> web.StreamResponse:
    """Join what the container prints from now on, and give it our input; ends when the container does."""
    engine = request.app[ENGINE]
    await request.read()
    container = await call(request, engine.container, request.match_info["ref"])
    if container.state.status == "paused":
        raise Conflict(f"container {container.name} is paused", "unpause it first")
    attached = datetime.now(UTC)
    subscription, woken = watch(engine)
    # What ends at once and removes itself (run --rm) would take its output along before we come to read it.
    engine.hold(container.id)
    try:
        container = await call(request, engine.container, container.id)
        kind = RAW if container.config.tty else MULTIPLEXED
        with streaming(request):
            async with hijacked(request, kind, HEADERS) as connection:
                await _attached(request, connection, container, attached, subscription, woken)
    finally:
        subscription.close()
        # Not awaited: the client may have left, which cancels us.
        asyncio.get_running_loop().run_in_executor(None, engine.release, container.id)
    return Taken()


async def _attached(
    request: web.Request,
    connection: Hijacked,
    container: Container,
    attached: datetime,
    subscription: Subscription,
    woken: asyncio.Event,
) -> None:
    engine = request.app[ENGINE]
    if not container.state.running and not await _started(container.id, subscription, woken):
        return
    stdout, stderr = flag(request, "stdout"), flag(request, "stderr")
    wants_input = flag(request, "stdin") and container.config.open_stdin
    feeding = asyncio.ensure_future(_feed(request, connection, container)) if wants_input else None
    stream, lines = flag(request, "stream"), _Lines(container)
    since = attached if stream and not flag(request, "logs") else None
    await call(request, engine.attached, container.id)
    try:
        read = partial(engine.logs, follow=stream, since=since, stdout=stdout, stderr=stderr)
        async with aclosing(iterate(lambda stop: read(container.id, stop=stop))) as output:
            async for entries in output:
                await connection.write(lines.encode(entries))
    finally:
        if feeding is not None:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)  # it may have ended with the container


async def _feed(request: web.Request, connection: Hijacked, container: Container) -> None:
    """Carry the client's input to the container until either ends."""
    engine = request.app[ENGINE]
    descriptor = await call(request, engine.input, container.id)
    await feed(connection.read, descriptor)
    # Who leaves a terminal has detached from it; what runs there goes on.
    if container.config.tty:
        await call(request, engine.detached, container.id)
        return
    # As with Docker's StdinOnce: the first client to come is the last.
    await call(request, engine.close_input, container.id)


async def _started(container_id: str, subscription: Subscription, woken: asyncio.Event) -> bool:
    """Wait until a container that does not run is started; False when it never will be."""
    while True:
        try:
            event = subscription.get_nowait()
        except queue.Empty:
            if subscription.closed:
                return False
            await woken.wait()
            woken.clear()
            continue
        if event.type == "container" and event.id == container_id and event.action in ("start", "die", "destroy"):
            return event.action != "destroy"


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
